//! Pods and containers come and go; the sync follows and no local file ever goes with them.

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk, Need,
    app::Deployed,
    container::Container,
    eventually,
    eventually::{LONG, holds},
    guard::Guard,
    process,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_deleted_pod", deleted_pod),
    Case::new("a_pod_deleted_without_grace", killed_pod),
    Case::new("a_rollout", rollout),
    Case::new("a_killed_container", killed_container).needs(&[Need::Processes]),
    Case::new("a_deleted_deployment", deleted_deployment),
];

/// Two replicas in sync, with files enough that a wiped directory would show.
pub(super) fn scene(desk: &Desk) -> (Deployed<'_>, Vec<Container>) {
    for number in 0..30 {
        desk.write(&format!("src/{number}.txt"), format!("{number}\n"));
    }
    desk.write("index.html", "from here\n");
    let app = App::web(desk).replicas(2).apply(desk);
    let containers = app.running(2);
    desk.sync(APP, CODE);
    (app, containers)
}

/// In sync again with exactly these, for a change made from now on too.
#[track_caller]
pub(super) fn in_sync(desk: &Desk, containers: &[Container]) {
    let ids: Vec<&str> = containers.iter().map(|c| c.id.as_str()).collect();
    desk.ksync.watching_ids("main", &ids, LONG);
    for container in containers {
        desk.equal(container, CODE).expect("equal trees");
    }
    desk.write("after.txt", "after\n");
    desk.arrives(containers, CODE);
}

fn deleted_pod(desk: &Desk) {
    let (app, containers) = scene(desk);
    let guard = Guard::over(&desk.local());
    desk.kubectl().ok(&["delete", "pod", "-n", &desk.namespace, &containers[0].pod]);
    in_sync(desk, &app.running(2));
    guard.intact();
}

/// The two-way one, whose directory is emptied by its runtime while it is bound.
fn killed_pod(desk: &Desk) {
    let (app, mut containers) = scene(desk);
    let guard = Guard::over(&desk.local());
    for _ in 0..2 {
        let lead = desk.two_way(&containers);
        let (pod, id) = (lead.pod.clone(), lead.id.clone());
        app.kill_pod(&pod);
        eventually("another container in its place", LONG, || holds(!app.has(&id), "it still runs"));
        containers = app.running(2);
        let ids: Vec<&str> = containers.iter().map(|c| c.id.as_str()).collect();
        desk.ksync.watching_ids("main", &ids, LONG);
    }
    in_sync(desk, &containers);
    guard.intact();
}

fn rollout(desk: &Desk) {
    let (app, before) = scene(desk);
    let guard = Guard::over(&desk.local());
    let after = app.restart(2);
    assert!(after.iter().all(|new| before.iter().all(|old| old.id != new.id)), "{before:?} {after:?}");
    in_sync(desk, &after);
    guard.intact();
}

fn killed_container(desk: &Desk) {
    let (app, containers) = scene(desk);
    let guard = Guard::over(&desk.local());
    // One on each runtime, at the same time.
    for container in &containers {
        process::kill(container.pid(desk.cluster()).expect("its process"));
    }
    let running = eventually("restarted containers", LONG, || {
        let now = app.running(2);
        let fresh = now.iter().all(|new| containers.iter().all(|old| old.id != new.id));
        if fresh { Ok(now) } else { Err(format!("{now:?}")) }
    });
    in_sync(desk, &running);
    guard.intact();
}

fn deleted_deployment(desk: &Desk) {
    let (_app, _) = scene(desk);
    let guard = Guard::over(&desk.local());
    desk.kubectl().ok(&["delete", "deployment", "-n", &desk.namespace, "app"]);
    let spec = desk.ksync.waiting("main", LONG);
    assert!(spec.reason.contains("app=app"), "{spec:?}");
    let containers = App::web(desk).replicas(2).apply(desk).running(2);
    in_sync(desk, &containers);
    guard.intact();
}
