//! Parts of ksync and of the cluster are killed: no local file is gone or different for an instant, what is not in
//! sync is not called so, and everything comes back by itself.

use std::time::{Duration, Instant};

use super::{CODE, STILL};
use crate::suite::{
    App, Case, Desk, Need,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds},
    guard::Guard,
    process,
    run::SYSTEM,
};

pub(super) const CASES: &[Case] = &[
    Case::new("radars_pods_are_deleted", radar_pods).alone(),
    Case::new("radars_process_is_killed", radar_process).alone().needs(&[Need::Processes]),
    Case::new("the_nodes_syncthing_is_killed", node_syncthing).alone().needs(&[Need::Processes]),
    Case::new("everything_is_killed_at_once", everything).alone().needs(&[Need::Processes]),
    Case::new("the_api_server_stops", api_server).alone().needs(&[Need::ApiServer]),
];

/// Watching is left within this time of losing contact.
const NOTICED: Duration = Duration::from_secs(15);

fn scene(desk: &Desk) -> Vec<Container> {
    for number in 0..30 {
        desk.write(&format!("src/{number}.txt"), format!("{number}\n"));
    }
    let containers = App::web(desk).replicas(2).apply(desk).running(2);
    desk.sync(STILL, CODE);
    containers
}

/// An edit made while something was broken arrives, and so does one made now.
#[track_caller]
fn heals(desk: &Desk, containers: &[Container]) {
    desk.ksync.watching("main", containers.len(), LONG);
    for container in containers {
        eventually("the edit made meanwhile", SHORT, || desk.equal(container, CODE));
    }
    desk.write("after.txt", "after\n");
    desk.arrives(containers, CODE);
    let two_way = desk.two_way(containers);
    two_way.sh(desk.cluster(), "echo back >/code/back.txt");
    eventually("what the container writes", SHORT, || {
        let here = desk.text("back.txt")?;
        holds(here == "back\n", here)
    });
    desk.ksync.no_conflicts();
}

/// A file that is edited here again and again, and one that the container writes, on both sides of an accident, each once
/// more just before it than there was time to note that they are equal: nobody has changed either of them on both sides.
fn around(desk: &Desk, containers: &[Container], accident: impl FnOnce()) {
    let two_way = desk.two_way(containers);
    two_way.sh(desk.cluster(), "for i in 0 1 2; do echo $i >>/code/app.log; sleep 0.2; done");
    for round in 0..3 {
        desk.write("edited.txt", format!("{round}\n"));
        desk.arrives(containers, CODE);
    }
    accident();
    desk.write("edited.txt", "meanwhile\n");
    desk.write("meanwhile.txt", "meanwhile\n");
    two_way.sh(desk.cluster(), "echo meanwhile >>/code/app.log");
}

/// What `around` has made of its two files.
fn healed_around(desk: &Desk, containers: &[Container]) {
    heals(desk, containers);
    assert_eq!(desk.text("edited.txt").as_deref(), Ok("meanwhile\n"));
    assert_eq!(desk.text("app.log").as_deref(), Ok("0\n1\n2\nmeanwhile\n"));
}

fn radar_pods(desk: &Desk) {
    let containers = scene(desk);
    let guard = Guard::over(&desk.local());
    desk.kubectl().ok(&["delete", "pods", "-n", SYSTEM, "--all", "--force", "--grace-period=0"]);
    desk.write("meanwhile.txt", "meanwhile\n");
    heals(desk, &containers);
    guard.intact();
}

/// Kills the process of the named container of each of radar's pods.
#[track_caller]
fn kill_parts(desk: &Desk, part: &str) {
    pids_of(desk, part).into_iter().for_each(process::kill);
}

#[track_caller]
fn pids_of(desk: &Desk, part: &str) -> Vec<u32> {
    let parts: Vec<Container> =
        desk.radars().into_iter().filter(|container| container.name == part).collect();
    assert!(!parts.is_empty(), "radar has no container `{part}`");
    parts.iter().map(|container| container.pid(desk.cluster()).expect("its process")).collect()
}

fn radar_process(desk: &Desk) {
    desk.renew_radar();
    let containers = scene(desk);
    let guard = Guard::over(&desk.local());
    let radars = pids_of(desk, "radar");
    around(desk, &containers, || radars.into_iter().for_each(process::kill));
    healed_around(desk, &containers);
    guard.intact();
}

/// syncthing itself, the child of `radar syncthing`, then that one.
fn node_syncthing(desk: &Desk) {
    desk.renew_radar();
    let containers = scene(desk);
    let guard = Guard::over(&desk.local());
    for parent in desk.radars().iter().filter(|container| container.name == "syncthing") {
        let pid = parent.pid(desk.cluster()).expect("its process");
        let children = process::children(pid);
        assert_eq!(children.len(), 1, "{children:?}");
        process::kill(children[0].pid);
    }
    desk.write("meanwhile.txt", "meanwhile\n");
    heals(desk, &containers);
    kill_parts(desk, "syncthing");
    desk.write("meanwhile.txt", "meanwhile again\n");
    heals(desk, &containers);
    guard.intact();
}

fn everything(desk: &Desk) {
    desk.renew_radar();
    let containers = scene(desk);
    let guard = Guard::over(&desk.local());
    let watcher = desk.ksync.watcher().expect("a watcher");
    kill_parts(desk, "syncthing");
    process::kill(watcher);
    kill_parts(desk, "radar");
    for container in &containers {
        process::kill(container.pid(desk.cluster()).expect("its process"));
    }
    desk.write("meanwhile.txt", "meanwhile\n");
    eventually("its syncthing to end with the watcher", SHORT, || {
        let left = process::of_home(&desk.ksync.home);
        holds(left.is_empty(), format!("{left:?}"))
    });
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 2, LONG);
    let spec = desk.ksync.spec("main").expect("the spec");
    assert!(
        spec.containers.iter().all(|row| containers.iter().all(|old| old.id != row.container_id)),
        "{spec:?}"
    );
    desk.write("after.txt", "after\n");
    for row in &spec.containers {
        eventually("an edit in a new container", SHORT, || {
            let args = [
                "exec",
                "-n",
                &desk.namespace,
                &row.pod,
                "--",
                "cat",
                "/code/after.txt",
                "/code/meanwhile.txt",
            ];
            let text = desk.kubectl().try_ok(&args)?;
            holds(text == "after\nmeanwhile\n", text)
        });
    }
    guard.intact();
}

/// Starts it again whatever happens.
struct Stopped<'a>(&'a Desk);

impl<'a> Stopped<'a> {
    fn now(desk: &'a Desk) -> Self {
        desk.cluster().api_server(false);
        Self(desk)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.cluster().api_server(true);
    }
}

/// It comes back with another certificate.
fn api_server(desk: &Desk) {
    let containers = scene(desk);
    let pids: Vec<u32> = containers.iter().map(|c| c.pid(desk.cluster()).expect("its process")).collect();
    let guard = Guard::over(&desk.local());
    {
        let begun = Instant::now();
        let _stopped = Stopped::now(desk);
        let spec = eventually("`watching` to be left", NOTICED, || {
            let spec = desk.ksync.spec("main")?;
            let left =
                spec.status != "watching" && spec.containers.iter().all(|row| row.status != "watching");
            if left { Ok(spec) } else { Err(format!("{spec:?}")) }
        });
        println!("`watching` was left after {:?}: {}", begun.elapsed(), spec.status);
        assert!(begun.elapsed() < NOTICED, "after {:?}", begun.elapsed());
        assert!(spec.containers.iter().all(|row| !row.reason.is_empty()), "it says why: {spec:?}");
        desk.write("meanwhile.txt", "meanwhile\n");
        // The tunnel ends first, and only then is the server asked.
        eventually("the outage to be told", NOTICED, || {
            let said = desk.ksync.run(&["get"]).stderr;
            if said.starts_with("warning: can't reach the cluster") { Ok(()) } else { Err(said) }
        });
        desk.cluster().renew_certificate();
        for pid in &pids {
            assert!(process::lives(*pid), "the app goes on");
        }
    }
    heals(desk, &containers);
    guard.intact();
}
