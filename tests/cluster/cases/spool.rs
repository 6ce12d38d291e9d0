//! Large files go through the two syncthings, each way, and by the stream where these are no way.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, holds},
    ksync::Ksync,
    process,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_large_file_goes_through_syncthing_each_way", each_way).on_each().needs(ROOM),
    Case::new("the_nodes_syncthing_is_killed_under_a_large_file", node_killed)
        .alone()
        .needs(&[Need::Processes, Need::DiskRoom]),
    Case::new("the_local_syncthing_is_killed_under_a_large_file", local_killed).needs(ROOM),
    Case::new("a_watcher_is_killed_under_a_large_file", watcher_killed).needs(ROOM),
    Case::new("a_spec_is_deleted_under_a_large_file", deleted).needs(ROOM),
];

const ROOM: &[Need] = &[Need::DiskRoom];
const READY: &str = "large files go through syncthing";
const WENT: &str = "a large file went through syncthing";
const CAME: &str = "a large file came through syncthing";
/// Where the pods of radar have what belongs to sessions.
const THERE: &str = "/var/lib/ksync/sessions";
const MB: usize = 1 << 20;
/// A large file is one of this size and more.
const FROM: &str = "8Mi";
/// More than is sent before somebody can do something about it.
const HUGE: usize = 48;

/// Long enough for a large file on each node, on a busy machine.
const LARGE: Duration = Duration::from_secs(120);

/// Writes a file that no two blocks of are alike.
#[track_caller]
fn write_large(sandbox: &Sandbox, name: &str) {
    let mut noise = File::open("/dev/urandom").expect("noise").take((HUGE * MB) as u64);
    let mut file = File::create(sandbox.path(name)).expect("create");
    io::copy(&mut noise, &mut file).expect("write");
}

/// Waits until `get` says that all hold the same, and sees whether that is true: content is read once only.
#[track_caller]
fn same(sandbox: &Sandbox, containers: &[Container]) {
    sandbox.watching(containers, LARGE);
    for container in containers {
        sandbox.equal(container, CODE).expect("equal trees");
    }
}

/// How often the watcher has said something.
fn said(sandbox: &Sandbox, what: &str) -> usize {
    sandbox.ksync.log().matches(what).count()
}

/// The watcher is the first command's, with its environment.
#[track_caller]
fn sync(sandbox: &Sandbox) {
    let ksync = with_spools(sandbox);
    let local = sandbox.local().display().to_string();
    ksync.ok(&[&["create", "--name", "main", "--wait"], NO_RELOAD, &[&local, CODE]].concat());
}

fn with_spools(sandbox: &Sandbox) -> Ksync {
    Ksync { large_file: FROM, ..sandbox.ksync.clone() }
}

/// A container on each node in sync, each node with a spool.
fn scene(sandbox: &Sandbox) -> Vec<Container> {
    sandbox.write("a.txt", "a\n");
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sync(sandbox);
    ready(sandbox, containers.len());
    containers
}

#[track_caller]
fn ready(sandbox: &Sandbox, times: usize) {
    eventually("spools", LONG, || holds(said(sandbox, READY) >= times, sandbox.ksync.log()));
}

/// The first group of the device id of the watcher's key, which its directories on nodes are named after.
fn own_device(sandbox: &Sandbox) -> String {
    let log = sandbox.ksync.log();
    let up = log.lines().find(|line| line.contains("syncthing is up")).expect("a syncthing");
    let (_, id) = up.split_once("device_id=\"").expect("its device");
    id.split(['"', '-']).next().unwrap_or_default().to_owned()
}

/// The files in the watcher's spools, here and in all pods of radar.
fn spooled(sandbox: &Sandbox) -> Vec<String> {
    let own = own_device(sandbox);
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> = fs::read_dir(sandbox.ksync.home.join("contexts"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|context| context.path().join("spool"))
        .collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                dirs.push(entry.path());
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    for radar in sandbox.radars().iter().filter(|container| container.name == "radar") {
        // There is no directory before the first spool.
        let Ok(tree) = radar.tree(sandbox.cluster(), THERE) else { continue };
        found.extend(
            tree.entries()
                // `DEVICE-1/spool/2/in/NAME`
                .filter(|(path, _)| path.starts_with(&own) && path.contains("/spool/"))
                .filter(|(path, _)| path.matches('/').count() > 3)
                .map(|(path, _)| format!("{}: {path}", radar.pod)),
        );
    }
    found
}

#[track_caller]
fn nothing_left(sandbox: &Sandbox) {
    eventually("empty spools", LONG, || {
        let left = spooled(sandbox);
        holds(left.is_empty(), format!("{left:?}"))
    });
}

/// Writes a large file, and waits until it is under way on the node.
#[track_caller]
fn under_way(sandbox: &Sandbox) {
    write_large(sandbox, "huge.bin");
    eventually("the file to be under way", LONG, || {
        let spooled = spooled(sandbox);
        holds(spooled.iter().any(|path| path.contains("/in/")), format!("{spooled:?}"))
    });
}

fn each_way(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::idle(sandbox).replicas(1).apply(sandbox).only();
    sync(sandbox);
    ready(sandbox, 1);
    write_large(sandbox, "there.bin");
    eventually("a large file there", LARGE, || holds(said(sandbox, WENT) == 1, sandbox.ksync.log()));
    let containers = [container];
    same(sandbox, &containers);
    let line = format!("head -c {} /dev/urandom >{CODE}/new && mv {CODE}/new {CODE}/here.bin", HUGE * MB);
    containers[0].sh(sandbox.cluster(), &line);
    // It may come by both names.
    eventually("a large file here", LARGE, || holds(said(sandbox, CAME) >= 1, sandbox.ksync.log()));
    same(sandbox, &containers);
    nothing_left(sandbox);
}

fn node_killed(sandbox: &Sandbox) {
    sandbox.renew_radar();
    let containers = scene(sandbox);
    under_way(sandbox);
    for parent in sandbox.radars().iter().filter(|container| container.name == "syncthing") {
        let pid = parent.pid(sandbox.cluster()).expect("its process");
        process::kill(process::only_syncthing(pid).pid);
    }
    same(sandbox, &containers);
    ready(sandbox, 2 * containers.len());
    nothing_left(sandbox);
}

fn local_killed(sandbox: &Sandbox) {
    let containers = scene(sandbox);
    under_way(sandbox);
    let watcher = sandbox.ksync.watcher().expect("a watcher");
    let children = process::children(watcher);
    assert_eq!(children.len(), 1, "{children:?}");
    process::kill(children[0].pid);
    same(sandbox, &containers);
    ready(sandbox, 2 * containers.len());
    nothing_left(sandbox);
}

fn watcher_killed(sandbox: &Sandbox) {
    let containers = scene(sandbox);
    under_way(sandbox);
    process::kill(sandbox.ksync.watcher().expect("a watcher"));
    with_spools(sandbox).ok(&["watch", "--daemon"]);
    same(sandbox, &containers);
    nothing_left(sandbox);
}

fn deleted(sandbox: &Sandbox) {
    scene(sandbox);
    under_way(sandbox);
    sandbox.ksync.ok(&["delete", "main"]);
    nothing_left(sandbox);
}
