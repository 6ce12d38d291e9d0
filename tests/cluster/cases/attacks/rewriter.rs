//! A container whose program is rewritten, while a reload has it make system calls, by a process that shares its memory.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::{
    cases::{APP, reload},
    suite::{
        App, Sandbox,
        container::Container,
        eventually::{SHORT, eventually, holds},
        init::Init,
        program::compiled,
    },
};

/// How often a reload is tried: at times the other process has no processor while the system calls are made.
const ROUNDS: usize = 30;

/// Waits until the attack is under way.
#[track_caller]
fn rewrites(sandbox: &Sandbox, container: &Container) -> Init {
    eventually("the attack to begin", SHORT, || {
        let init = Init::of(sandbox.cluster(), container)?;
        let children = format!("/proc/{0}/task/{0}/children", init.pid);
        let children = fs::read_to_string(children).map_err(|error| error.to_string())?;
        let begun = init.start.arguments == "/tmp/code/rewriter unshare" && !children.trim().is_empty();
        if begun { Ok(init) } else { Err(format!("{init:?}, children {children:?}")) }
    })
}

/// What it may do: its user, groups, capabilities and filters.
fn powers(init: &Init) -> Vec<&String> {
    let keys = ["Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp"];
    init.start.status.iter().filter(|line| keys.iter().any(|key| line.starts_with(key))).collect()
}

/// The user namespace of a process.
fn users(init: &Init) -> PathBuf {
    fs::read_link(format!("/proc/{}/ns/user", init.pid)).expect("its user namespace")
}

/// A user namespace of its own would give it all capabilities there. The runtime's filter forbids that, and is in force
/// whoever has the process make a system call.
pub(super) fn gains_nothing(sandbox: &Sandbox) {
    let line = "mkdir -p /tmp/code; until [ -x /tmp/code/rewriter ]; do sleep 0.1; done; \
                exec /tmp/code/rewriter unshare";
    let app = App::shell(sandbox, line)
        .pod("securityContext", json!({ "runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": true }))
        .container(
            "securityContext",
            json!({
                "capabilities": { "drop": ["ALL"] }, "allowPrivilegeEscalation": false,
                "seccompProfile": { "type": "RuntimeDefault" },
            }),
        );
    reload::executable(sandbox, "rewriter", &compiled(sandbox, "reexec/src/tests/rewriter.c"));
    let container = app.apply(sandbox).only();
    sandbox.sync(&[APP, &["--reload=false"]].concat(), "/tmp/code");
    let begun = rewrites(sandbox, &container);
    let namespace = users(&begun);
    let mut noticed = 0;
    for round in 1..=ROUNDS {
        let before = rewrites(sandbox, &container);
        let output = sandbox.ksync.run(&["reload", "main", "--mode", "process"]);
        let after = Init::of(sandbox.cluster(), &container).expect("it lives on");
        assert_eq!(users(&after), namespace, "round {round}: it has a user namespace of its own");
        assert_eq!(powers(&after), powers(&begun), "round {round}");
        if output.status != Some(0) {
            let said = output.stderr;
            let sentence =
                "another process, which shares its memory, changes the process while its program is replaced";
            assert!(said.contains(sentence), "round {round}: {said}");
            assert!(!before.was_replaced_by(&after), "round {round}");
            noticed += 1;
        }
        if noticed == 3 {
            break;
        }
    }
    assert!(noticed > 0, "none of {ROUNDS} reloads met the attack");
    eventually("the app to be synced as before", SHORT, || {
        holds(sandbox.equal(&container, "/tmp/code").is_ok(), "it differs".to_owned())
    });
}
