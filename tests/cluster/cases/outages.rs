//! Parts of ksync and of the cluster are killed: no local file is gone or different for an instant, what is not in
//! sync is not called so, and everything comes back by itself.

use std::time::{Duration, Instant};

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds},
    process,
    run::SYSTEM,
    witness::Witness,
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

fn scene(sandbox: &Sandbox) -> Vec<Container> {
    for number in 0..30 {
        sandbox.write(&format!("src/{number}.txt"), format!("{number}\n"));
    }
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    containers
}

/// An edit made while something was broken arrives, and so does one made now.
#[track_caller]
fn heals(sandbox: &Sandbox, containers: &[Container]) {
    sandbox.ksync.watching("main", containers.len(), LONG);
    for container in containers {
        eventually("the edit made meanwhile", SHORT, || sandbox.equal(container, CODE));
    }
    sandbox.write("after.txt", "after\n");
    sandbox.arrives(containers, CODE);
    let two_way = sandbox.two_way(containers);
    two_way.sh(sandbox.cluster(), "echo back >/code/back.txt");
    eventually("what the container writes", SHORT, || {
        let here = sandbox.text("back.txt")?;
        holds(here == "back\n", here)
    });
    sandbox.ksync.no_conflicts();
}

/// A file that is edited here again and again, and one that the container writes, on both sides of an accident, each once
/// more just before it than there was time to note that they are equal: nobody has changed either of them on both sides.
fn around(sandbox: &Sandbox, containers: &[Container], accident: impl FnOnce()) {
    let two_way = sandbox.two_way(containers);
    two_way.sh(sandbox.cluster(), "for i in 0 1 2; do echo $i >>/code/app.log; sleep 0.2; done");
    for round in 0..3 {
        sandbox.write("edited.txt", format!("{round}\n"));
        sandbox.arrives(containers, CODE);
    }
    accident();
    sandbox.write("edited.txt", "meanwhile\n");
    sandbox.write("meanwhile.txt", "meanwhile\n");
    two_way.sh(sandbox.cluster(), "echo meanwhile >>/code/app.log");
}

/// What `around` has made of its two files.
fn healed_around(sandbox: &Sandbox, containers: &[Container]) {
    heals(sandbox, containers);
    assert_eq!(sandbox.text("edited.txt").as_deref(), Ok("meanwhile\n"));
    assert_eq!(sandbox.text("app.log").as_deref(), Ok("0\n1\n2\nmeanwhile\n"));
}

fn radar_pods(sandbox: &Sandbox) {
    let containers = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    sandbox.kubectl().ok(&["delete", "pods", "-n", SYSTEM, "--all", "--force", "--grace-period=0"]);
    sandbox.write("meanwhile.txt", "meanwhile\n");
    heals(sandbox, &containers);
    witness.intact();
}

/// Kills the process of the named container of each of radar's pods.
#[track_caller]
fn kill_parts(sandbox: &Sandbox, part: &str) {
    pids_of(sandbox, part).into_iter().for_each(process::kill);
}

#[track_caller]
fn pids_of(sandbox: &Sandbox, part: &str) -> Vec<u32> {
    let parts: Vec<Container> =
        sandbox.radars().into_iter().filter(|container| container.name == part).collect();
    assert!(!parts.is_empty(), "radar has no container `{part}`");
    parts.iter().map(|container| container.pid(sandbox.cluster()).expect("its process")).collect()
}

fn radar_process(sandbox: &Sandbox) {
    sandbox.renew_radar();
    let containers = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    let radars = pids_of(sandbox, "radar");
    around(sandbox, &containers, || radars.into_iter().for_each(process::kill));
    healed_around(sandbox, &containers);
    witness.intact();
}

/// The session's syncthing on each node, a child of `radar syncthing`, then that one.
fn node_syncthing(sandbox: &Sandbox) {
    sandbox.renew_radar();
    let containers = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    for parent in sandbox.radars().iter().filter(|container| container.name == "syncthing") {
        let pid = parent.pid(sandbox.cluster()).expect("its process");
        process::kill(process::only_syncthing(pid).pid);
    }
    sandbox.write("meanwhile.txt", "meanwhile\n");
    heals(sandbox, &containers);
    kill_parts(sandbox, "syncthing");
    sandbox.write("meanwhile.txt", "meanwhile again\n");
    heals(sandbox, &containers);
    witness.intact();
}

fn everything(sandbox: &Sandbox) {
    sandbox.renew_radar();
    let containers = scene(sandbox);
    let witness = Witness::over(&sandbox.local());
    let watcher = sandbox.ksync.watcher().expect("a watcher");
    kill_parts(sandbox, "syncthing");
    process::kill(watcher);
    kill_parts(sandbox, "radar");
    for container in &containers {
        process::kill(container.pid(sandbox.cluster()).expect("its process"));
    }
    sandbox.write("meanwhile.txt", "meanwhile\n");
    eventually("its syncthing to end with the watcher", SHORT, || {
        let left = process::of_home(&sandbox.ksync.home);
        holds(left.is_empty(), format!("{left:?}"))
    });
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.ksync.watching("main", containers.len(), LONG);
    let spec = sandbox.ksync.spec("main").expect("the spec");
    assert!(
        spec.containers.iter().all(|row| containers.iter().all(|old| old.id != row.container_id)),
        "{spec:?}"
    );
    sandbox.write("after.txt", "after\n");
    for row in &spec.containers {
        eventually("an edit in a new container", SHORT, || {
            let args = [
                "exec",
                "-n",
                &sandbox.namespace,
                &row.pod,
                "--",
                "cat",
                "/code/after.txt",
                "/code/meanwhile.txt",
            ];
            let text = sandbox.kubectl().try_ok(&args)?;
            holds(text == "after\nmeanwhile\n", text)
        });
    }
    witness.intact();
}

/// Starts it again whatever happens.
struct Stopped<'a>(&'a Sandbox);

impl<'a> Stopped<'a> {
    fn now(sandbox: &'a Sandbox) -> Self {
        sandbox.cluster().api_server(false);
        Self(sandbox)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.cluster().api_server(true);
    }
}

/// It comes back with another certificate.
fn api_server(sandbox: &Sandbox) {
    let containers = scene(sandbox);
    let pids: Vec<u32> = containers.iter().map(|c| c.pid(sandbox.cluster()).expect("its process")).collect();
    let witness = Witness::over(&sandbox.local());
    {
        let begun = Instant::now();
        let _stopped = Stopped::now(sandbox);
        let spec = eventually("`watching` to be left", NOTICED, || {
            let spec = sandbox.ksync.spec("main")?;
            let left =
                spec.status != "watching" && spec.containers.iter().all(|row| row.status != "watching");
            if left { Ok(spec) } else { Err(format!("{spec:?}")) }
        });
        println!("`watching` was left after {:?}: {}", begun.elapsed(), spec.status);
        assert!(begun.elapsed() < NOTICED, "after {:?}", begun.elapsed());
        assert!(spec.containers.iter().all(|row| !row.reason.is_empty()), "it says why: {spec:?}");
        sandbox.write("meanwhile.txt", "meanwhile\n");
        // The tunnel ends first, and only then is the server asked.
        eventually("the outage to be told", NOTICED, || {
            let said = sandbox.ksync.run(&["get"]).stderr;
            if said.starts_with("warning: can't reach the cluster") { Ok(()) } else { Err(said) }
        });
        sandbox.cluster().renew_certificate();
        for pid in &pids {
            assert!(process::lives(*pid), "the app goes on");
        }
    }
    heals(sandbox, &containers);
    witness.intact();
}
