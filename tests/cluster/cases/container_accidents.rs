//! Containers end in ways that nobody asked kubelet for: no local file goes with them, not for an instant and not with a
//! later scan on the node, and the sync follows to what comes after.

use super::{
    CODE, NO_RELOAD,
    pod_changes::{in_sync, scene},
};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds},
    nodes::runtimes,
    process,
    witness::Witness,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_container_that_its_runtime_removes", removed).on_each().needs(&[Need::Runtimes]),
    Case::new("radar_is_killed_while_containers_die", with_radar).alone().needs(&[Need::Processes]),
    Case::new("the_nodes_runtimes_restart", restarted).alone().needs(&[Need::Runtimes]),
];

/// What the two-way container writes comes here only after a scan on its node; nobody is told of a conflict.
#[track_caller]
fn past_a_scan(sandbox: &Sandbox, containers: &[Container]) {
    sandbox.two_way(containers).sh(sandbox.cluster(), "echo scanned >/code/scanned.txt");
    eventually("a scan on the node", SHORT, || {
        let here = sandbox.text("scanned.txt")?;
        holds(here == "scanned\n", here)
    });
    sandbox.ksync.no_conflicts();
}

/// The two-way one, behind kubelet's back and with all that it has written, twice.
fn removed(sandbox: &Sandbox) {
    for number in 0..30 {
        sandbox.write(&format!("src/{number}.txt"), format!("{number}\n"));
    }
    let app = App::web(sandbox).apply(sandbox);
    let mut containers = app.all();
    sandbox.sync(NO_RELOAD, CODE);
    let witness = Witness::over(&sandbox.local());
    for _ in 0..2 {
        sandbox.cluster().remove(&containers[0]);
        containers = app.others(&containers);
        in_sync(sandbox, &containers);
        past_a_scan(sandbox, &containers);
    }
    witness.intact();
}

/// On one node radar goes first, on the other the container, each with the other on its heels.
fn with_radar(sandbox: &Sandbox) {
    sandbox.renew_radar();
    let (app, containers) = scene(sandbox);
    let radars: Vec<Container> = sandbox.radars().into_iter().filter(|part| part.name == "radar").collect();
    let pid = |container: &Container| container.pid(sandbox.cluster()).expect("its process");
    let mut victims = Vec::new();
    for (turn, container) in containers.iter().enumerate() {
        let radar = radars.iter().find(|radar| radar.node == container.node).expect("its node's radar");
        let mut both = [pid(radar), pid(container)];
        both.rotate_left(turn % 2);
        victims.extend(both);
    }
    let witness = Witness::over(&sandbox.local());
    victims.into_iter().for_each(process::kill);
    let containers = app.others(&containers);
    in_sync(sandbox, &containers);
    past_a_scan(sandbox, &containers);
    witness.intact();
}

/// Starts it again whatever happens.
struct Stopped<'a>(&'a Sandbox, &'a str);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.cluster().runtime(self.1, true);
    }
}

/// Containers outlive containerd and CRI-O. Docker, as it is set up by default, takes all of its own along, radar's too.
fn restarted(sandbox: &Sandbox) {
    let (app, containers) = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    for runtime in &runtimes(&sandbox.nodes) {
        sandbox.cluster().runtime(runtime, false);
        let stopped = Stopped(sandbox, runtime);
        sandbox.write(&format!("while-{runtime}-is-away.txt"), "meanwhile\n");
        drop(stopped);
    }
    let (ended, lives): (Vec<_>, Vec<_>) =
        containers.iter().partition(|container| container.id.starts_with("docker://"));
    assert!(lives.iter().all(|container| app.has(&container.id)), "{lives:?}");
    for ended in ended {
        eventually("another container in its place", LONG, || holds(!app.has(&ended.id), "it still runs"));
    }
    let containers = app.all();
    assert!(
        lives.iter().all(|one| containers.iter().any(|now| now.id == one.id)),
        "{lives:?}, {containers:?}"
    );
    in_sync(sandbox, &containers);
    past_a_scan(sandbox, &containers);
    witness.intact();
}
