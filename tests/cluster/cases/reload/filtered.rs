//! Apps under seccomp filters: their runtime's, under which each shape of app is reloaded as without, and their own.

use serde_json::json;

use super::{CASES as UNFILTERED, NEEDS, STARTS, executable, inits, restarts, says, second, sync};
use crate::{
    cases::APP,
    suite::{
        App, Case, Sandbox,
        eventually::{SHORT, eventually, holds},
        program::compiled,
    },
};

const OWN: [Case; 2] = [
    Case::new("a_filtered_app_stays_filtered", stays_filtered).needs(NEEDS),
    Case::new("a_call_that_a_filter_forbids_is_named", forbidden).needs(NEEDS),
];
const COUNT: usize = UNFILTERED.len() + OWN.len();

/// Every case of a reload in place, under the filter of the runtime, and those of this room.
const ALL: [Case; COUNT] = {
    let (mut all, mut number) = ([OWN[0]; COUNT], 0);
    while number < COUNT {
        all[number] = match number.checked_sub(UNFILTERED.len()) {
            None => UNFILTERED[number].filtered(),
            Some(own) => OWN[own],
        };
        number += 1;
    }
    all
};

pub(crate) const CASES: &[Case] = &ALL;

/// Whether one may switch off the random placement of addresses, which needs no right and is refused by the filter that
/// each runtime has by default.
const ASK: &str = "/usr/bin/python3 -c 'import ctypes; print(ctypes.CDLL(None).personality(0x40000) != -1)'";

fn stays_filtered(sandbox: &Sandbox) {
    let app = App::shell(sandbox, &format!("{ASK} >>{STARTS}; exec sleep 1000000"))
        .with_python()
        .beside("other")
        .container("securityContext", json!({ "seccompProfile": { "type": "RuntimeDefault" } }));
    sandbox.write("version", "one\n");
    let containers = app.everywhere().apply(sandbox).all();
    let (ours, others): (Vec<_>, Vec<_>) =
        containers.into_iter().partition(|container| container.name == "app");
    says(sandbox, &ours, STARTS, "False\n");
    // It is the filter that refuses.
    for container in &others {
        assert_eq!(container.sh(sandbox.cluster(), ASK), "True\n", "{container}");
    }
    sync(sandbox, &["--selector", "app=app", "--container", "app"], super::CODE);
    let before = inits(sandbox, &ours);
    for init in &before {
        assert!(init.start.status.iter().any(|line| line == "Seccomp:\t2"), "{init:?}");
    }
    let said = second(sandbox, &ours);
    assert!(!said.contains("dropped"), "{said}");
    says(sandbox, &ours, STARTS, "False\nFalse\n");
    for (before, after) in before.iter().zip(inits(sandbox, &ours)) {
        assert_eq!(before.start.status, after.start.status);
    }
}

fn forbidden(sandbox: &Sandbox) {
    executable(sandbox, "confined", &compiled(sandbox, "tests/cluster/programs/confined.c"));
    let line = "mkdir -p /code; until [ -x /code/confined ]; do sleep 0.1; done; exec /code/confined";
    let containers = App::shell(sandbox, line).everywhere().apply(sandbox).all();
    sync(sandbox, APP, super::CODE);
    for container in &containers {
        eventually("the app to confine itself", SHORT, || {
            let init = crate::suite::init::Init::of(sandbox.cluster(), container)?;
            let confined = init.start.status.iter().any(|line| line == "Seccomp:\t2");
            holds(confined && init.start.arguments == "/code/confined", format!("{init:?}"))
        });
    }
    let before = inits(sandbox, &containers);
    let said = sandbox.ksync.refused(&["reload", "main", "--mode", "process"]);
    let sentence = "forbid the system call `setitimer` (it would be killed), which a reload in place needs: mode \
                    `signal:NAME` needs none";
    assert_eq!(said.matches(sentence).count(), containers.len(), "{said}");
    assert_eq!(inits(sandbox, &containers), before, "nothing was touched");
    for container in &containers {
        assert_eq!(restarts(sandbox, container), Ok(0));
    }
}
