//! The other ways to reload: by the app itself, by a signal, by kubelet.

use super::{APP, CODE, NEEDS, NOTE, STARTS, everywhere, inits, python_app, reload, restarts, says, sync};
use crate::suite::{
    App, Case, Sandbox,
    eventually::{LONG, SHORT},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("an_app_that_watches_itself_is_left_alone", itself).needs(NEEDS),
    Case::new("a_signal_needs_a_handler", signal).needs(NEEDS),
    Case::new("an_app_may_end_in_its_own_way_first", grace).needs(NEEDS),
    Case::new("a_container_restarts_only_in_a_volume", volume).needs(NEEDS),
    Case::new("what_is_not_there_is_said", nothing),
];

/// Watches the directory that its first line names, as file watchers do.
pub(super) const WATCHER: &str = "\
import ctypes, os, time
libc = ctypes.CDLL(None)
queue = libc.inotify_init()
assert libc.inotify_add_watch(queue, b'/code/lib', 0x3c6) > 0
open('/run/ready', 'w').close()
time.sleep(1000000)
";

fn itself(sandbox: &Sandbox) {
    sandbox.write("lib/empty", "");
    sandbox.write("app.py", WATCHER);
    let containers = everywhere(sandbox, python_app(sandbox));
    says(sandbox, &containers, "/run/ready", "");
    let before = inits(sandbox, &containers);
    // Nobody says a mode: `auto` it is.
    let said = sandbox.ksync.ok(&["reload", "main"]);
    let told = "left alone: the app watches `/code` itself (inotify, process 1 `python3`)";
    assert_eq!(said.matches(told).count(), containers.len(), "{said}");
    assert_eq!(inits(sandbox, &containers), before);
    // A directory that the app does not watch for writing makes no difference.
    sandbox.write("app.py", WATCHER.replace("0x3c6", "0x100"));
    sandbox.arrives(&containers, CODE);
    sandbox.watching(&containers, SHORT);
    for container in &containers {
        container.sh(sandbox.cluster(), "rm /run/ready");
    }
    reload(sandbox, &containers);
    says(sandbox, &containers, "/run/ready", "");
    let said = sandbox.ksync.ok(&["reload", "main"]);
    assert_eq!(said.matches(" reloaded: ").count(), containers.len(), "{said}");
}

fn signal(sandbox: &Sandbox) {
    let line = "mkdir -p /code; trap 'cat /code/version >>/run/starts' HUP; while :; do sleep 0.1; done";
    let containers = everywhere(sandbox, App::shell(sandbox, line));
    let before = inits(sandbox, &containers);
    let said = sandbox.ksync.ok(&["reload", "main", "--mode", "signal:HUP"]);
    assert_eq!(said.matches("reloaded: signal HUP was sent").count(), containers.len(), "{said}");
    says(sandbox, &containers, STARTS, "one\n");
    let said = sandbox.ksync.refused(&["reload", "main", "--mode", "signal:USR1"]);
    let sentence = "was not reloaded: the container's process 1 `sh` has no handler for SIGUSR1, so it would not hear it";
    assert_eq!(said.matches(sentence).count(), containers.len(), "{said}");
    let said = sandbox.ksync.refused(&["reload", "main", "--mode", "signal:KILL"]);
    assert!(said.contains("`KILL` is no signal that an app can handle"), "{said}");
    assert_eq!(inits(sandbox, &containers), before);
}

fn grace(sandbox: &Sandbox) {
    let line = format!(
        "{NOTE}; trap 'sleep 0.5; echo farewell >>/run/starts; exit 0' TERM; while :; do sleep 0.1; done"
    );
    let containers = everywhere(sandbox, App::shell(sandbox, &line));
    let before = inits(sandbox, &containers);
    let said = sandbox.ksync.ok(&["reload", "main", "--grace", "30s"]);
    assert_eq!(said.matches(" reloaded: ").count(), containers.len(), "{said}");
    says(sandbox, &containers, STARTS, "farewell\none\n");
    for ((container, before), after) in containers.iter().zip(&before).zip(inits(sandbox, &containers)) {
        assert!(before.was_replaced_by(&after), "{container}");
        assert_eq!(restarts(sandbox, container), Ok(0), "{container}");
    }
    // One that takes too long is replaced all the same.
    reload(sandbox, &containers);
    says(sandbox, &containers, STARTS, "farewell\none\none\n");
    let said = sandbox.ksync.ok(&["reload", "main", "--grace", "10ms"]);
    assert_eq!(said.matches(" reloaded: ").count(), containers.len(), "{said}");
    says(sandbox, &containers, STARTS, "farewell\none\none\none\n");
}

fn volume(sandbox: &Sandbox) {
    let containers = everywhere(sandbox, App::idle(sandbox));
    let said = sandbox.ksync.refused(&["reload", "main", "--mode", "container"]);
    let sentence =
        "`/code` is not in a volume: a restart of the container would start it with the image's files";
    assert_eq!(said.matches(sentence).count(), containers.len(), "{said}");
    sandbox.ksync.ok(&["delete", "main"]);
    let app = App::idle(sandbox).empty_dir("code", CODE).everywhere().apply(sandbox);
    let before = app.all();
    sync(sandbox, APP, CODE);
    let said = sandbox.ksync.ok(&["reload", "main", "--mode", "container"]);
    assert_eq!(
        said.matches("reloaded: the container was stopped, for kubelet to start it anew").count(),
        before.len(),
        "{said}"
    );
    let after = app.others(&before);
    for container in &after {
        assert_eq!(restarts(sandbox, container), Ok(1));
    }
    sandbox.watching(&after, LONG);
    sandbox.write("version", "two\n");
    sandbox.arrives(&after, CODE);
}

fn nothing(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    sandbox.ksync.ok(&[
        "create",
        "--name",
        "main",
        "-l",
        "app=nobody",
        &sandbox.local().display().to_string(),
        CODE,
    ]);
    sandbox.ksync.waiting("main", LONG);
    assert_eq!(sandbox.ksync.refused(&["reload", "other"]), "error: spec `other` not found\n");
    assert_eq!(
        sandbox.ksync.refused(&["reload", "main"]),
        "error: no container of spec `main` is attached\nhint: `kubectl ksync get main` says how it stands\n"
    );
}
