//! Pods and containers come and go; the sync follows and no local file ever goes with them.

use std::{fs, thread, time::Duration};

use super::{APP, CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    app::Deployed,
    container::Container,
    eventually,
    eventually::{LONG, holds},
    process,
    witness::Witness,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_deleted_pod", deleted_pod),
    Case::new("a_pod_deleted_without_grace", killed_pod),
    Case::new("what_a_container_writes_at_its_end_comes_here", last_words).on_each(),
    Case::new("what_was_written_before_a_pod_was_taken_away_comes_here", taken_away)
        .on_each()
        .needs(&[Need::Processes]),
    Case::new("a_rollout", rollout),
    Case::new("a_killed_container", killed_container).needs(&[Need::Processes]),
    Case::new("a_deleted_deployment", deleted_deployment),
    Case::new("directories_that_go_here_while_pods_come", removed_meanwhile),
];

/// A replica on each node in sync, with files enough that a wiped directory would show.
pub(super) fn scene(sandbox: &Sandbox) -> (Deployed<'_>, Vec<Container>) {
    for number in 0..30 {
        sandbox.write(&format!("src/{number}.txt"), format!("{number}\n"));
    }
    sandbox.write("index.html", "from here\n");
    let app = App::web(sandbox).everywhere().apply(sandbox);
    let containers = app.all();
    sandbox.sync(APP, CODE);
    (app, containers)
}

/// In sync again with exactly these, for a change made from now on too.
#[track_caller]
pub(super) fn in_sync(sandbox: &Sandbox, containers: &[Container]) {
    sandbox.watching(containers, LONG);
    for container in containers {
        sandbox.equal(container, CODE).expect("equal trees");
    }
    sandbox.write("after.txt", "after\n");
    sandbox.arrives(containers, CODE);
}

fn deleted_pod(sandbox: &Sandbox) {
    let (app, containers) = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    for container in &containers {
        sandbox.kubectl().ok(&["delete", "pod", "-n", &sandbox.namespace, &container.pod]);
        in_sync(sandbox, &app.all());
    }
    witness.intact();
}

/// The two-way one, whose directory is emptied by its runtime while it is bound.
fn killed_pod(sandbox: &Sandbox) {
    let (app, mut containers) = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    for _ in 0..containers.len() {
        let lead = sandbox.two_way(&containers);
        let (pod, id) = (lead.pod.clone(), lead.id.clone());
        app.kill_pod(&pod);
        eventually("another container in its place", LONG, || holds(!app.has(&id), "it still runs"));
        containers = app.all();
        sandbox.watching(&containers, LONG);
    }
    in_sync(sandbox, &containers);
    witness.intact();
}

fn rollout(sandbox: &Sandbox) {
    let (app, before) = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    let after = app.restart();
    assert!(after.iter().all(|new| before.iter().all(|old| old.id != new.id)), "{before:?} {after:?}");
    in_sync(sandbox, &after);
    witness.intact();
}

fn killed_container(sandbox: &Sandbox) {
    let (app, containers) = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    // One on each runtime, at the same time.
    for container in &containers {
        process::kill(container.pid(sandbox.cluster()).expect("its process"));
    }
    let running = eventually("restarted containers", LONG, || {
        let now = app.all();
        let fresh = now.iter().all(|new| containers.iter().all(|old| old.id != new.id));
        if fresh { Ok(now) } else { Err(format!("{now:?}")) }
    });
    in_sync(sandbox, &running);
    witness.intact();
}

fn deleted_deployment(sandbox: &Sandbox) {
    let (_app, _) = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    sandbox.kubectl().ok(&["delete", "deployment", "-n", &sandbox.namespace, "app"]);
    let spec = sandbox.ksync.waiting("main", LONG);
    assert!(spec.reason.contains("app=app"), "{spec:?}");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    in_sync(sandbox, &containers);
    witness.intact();
}

/// One after the other, so that some go when a new container is compared, some when it joins, and some when its node hears
/// of what is here: the container had each of them a moment ago, with a file that its node never heard of from here.
fn removed_meanwhile(sandbox: &Sandbox) {
    const DIRS: u32 = 80;
    const APART: Duration = Duration::from_millis(60);
    for number in 0..DIRS {
        sandbox.write(&format!("dir{number}/file.txt"), format!("{number}\n"));
    }
    sandbox.write("stays.txt", "stays\n");
    let app = App::idle(sandbox).everywhere().apply(sandbox);
    let before = app.all();
    sandbox.sync(NO_RELOAD, CODE);
    for container in &before {
        app.kill_pod(&container.pod);
    }
    for number in 0..DIRS {
        fs::remove_dir_all(sandbox.path(&format!("dir{number}"))).expect("remove");
        thread::sleep(APART);
    }
    let containers = app.all();
    sandbox.watching(&containers, LONG);
    sandbox.arrives(&containers, CODE);
    assert_eq!(sandbox.tree().expect("the local tree").len(), 1, "what was removed has come back");
}

/// What the container has written into `late.txt` at its end comes here, and the sync goes on with the one that comes next.
#[track_caller]
fn outlived(sandbox: &Sandbox, app: &Deployed<'_>, container: Container) {
    eventually("what it writes last", LONG, || {
        let lines = sandbox.text("late.txt")?.lines().count();
        holds(lines == 50_000, format!("{lines} lines"))
    });
    let next = app.others(&[container]);
    sandbox.watching(&next, LONG);
    sandbox.arrives(&next, CODE);
}

/// Without any grace its pod is gone from the API server before the watcher hears of what it wrote.
fn taken_away(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::idle(sandbox).pod("terminationGracePeriodSeconds", 5.into()).apply(sandbox);
    let container = app.only();
    sandbox.sync(NO_RELOAD, CODE);
    let watcher = sandbox.ksync.watcher().expect("a watcher");
    process::stand_still(watcher, true);
    container.sh(sandbox.cluster(), "seq 50000 >/code/late.txt");
    app.kill_pod(&container.pod);
    process::stand_still(watcher, false);
    outlived(sandbox, &app, container);
    sandbox.ksync.no_conflicts();
}

/// While its pod is on its way out, and in its very last moment. What it removes then is a part of its end.
fn last_words(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let line = "trap 'echo early >/code/early.txt; rm /code/a.txt; sleep 1; seq 50000 >/code/late.txt; exit 0' TERM; \
                while :; do sleep 0.1; done";
    let app = App::shell(sandbox, line).pod("terminationGracePeriodSeconds", 20.into()).apply(sandbox);
    let container = app.only();
    sandbox.sync(NO_RELOAD, CODE);
    sandbox.kubectl().ok(&["delete", "pod", "-n", &sandbox.namespace, "--wait=false", &container.pod]);
    eventually("what it writes in its grace period", LONG, || sandbox.text("early.txt"));
    outlived(sandbox, &app, container);
    assert_eq!(sandbox.text("a.txt").as_deref(), Ok("a\n"), "removed by a container on its way out");
    sandbox.ksync.no_conflicts();
}
