//! Large files go through the two syncthings, each way, and by the stream where these are no way.

use std::{fs, path::PathBuf};

use rand::RngExt;

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds},
    process,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_large_file_goes_through_syncthing_each_way", each_way).on_each(),
    Case::new("the_nodes_syncthing_is_killed_under_a_large_file", node_killed)
        .alone()
        .needs(&[Need::Processes]),
    Case::new("the_local_syncthing_is_killed_under_a_large_file", local_killed),
    Case::new("a_watcher_is_killed_under_a_large_file", watcher_killed),
    Case::new("a_spec_is_deleted_under_a_large_file", deleted),
];

const READY: &str = "large files go through syncthing";
const WENT: &str = "a large file went through syncthing";
const CAME: &str = "a large file came through syncthing";
/// Where the pods of radar have their spools.
const THERE: &str = "/var/lib/ksync/spool";
const MB: usize = 1 << 20;
/// More than is sent before somebody can do something about it.
const HUGE: usize = 300;

fn noise(megabytes: usize) -> Vec<u8> {
    let mut noise = vec![0; megabytes * MB];
    rand::rng().fill(&mut noise[..]);
    noise
}

/// How often the watcher has said something.
fn said(sandbox: &Sandbox, what: &str) -> usize {
    sandbox.ksync.log().matches(what).count()
}

/// A container on each node in sync, each node with a spool.
fn scene(sandbox: &Sandbox) -> Vec<Container> {
    sandbox.write("a.txt", "a\n");
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    ready(sandbox, containers.len());
    containers
}

#[track_caller]
fn ready(sandbox: &Sandbox, times: usize) {
    eventually("spools", LONG, || holds(said(sandbox, READY) >= times, sandbox.ksync.log()));
}

/// The files in the spools, here and in all pods of radar.
fn spooled(sandbox: &Sandbox) -> Vec<String> {
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
                .filter(|(path, _)| path.matches('/').count() > 1)
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
    sandbox.write("huge.bin", noise(HUGE));
    eventually("the file to be under way", SHORT, || {
        let spooled = spooled(sandbox);
        holds(spooled.iter().any(|path| path.contains("/in/")), format!("{spooled:?}"))
    });
}

fn each_way(sandbox: &Sandbox) {
    let containers = scene(sandbox);
    sandbox.write("there.bin", noise(HUGE));
    sandbox.at_rest(&containers, CODE);
    assert_eq!(said(sandbox, WENT), containers.len(), "{}", sandbox.ksync.log());
    let line = format!("head -c {} /dev/urandom >{CODE}/new && mv {CODE}/new {CODE}/here.bin", HUGE * MB);
    containers[0].sh(sandbox.cluster(), &line);
    sandbox.at_rest(&containers, CODE);
    assert!(said(sandbox, CAME) >= 1, "{}", sandbox.ksync.log());
    nothing_left(sandbox);
}

fn node_killed(sandbox: &Sandbox) {
    sandbox.renew_radar();
    let containers = scene(sandbox);
    under_way(sandbox);
    for parent in sandbox.radars().iter().filter(|container| container.name == "syncthing") {
        let pid = parent.pid(sandbox.cluster()).expect("its process");
        for child in process::children(pid) {
            process::kill(child.pid);
        }
    }
    sandbox.at_rest(&containers, CODE);
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
    sandbox.at_rest(&containers, CODE);
    ready(sandbox, 2 * containers.len());
    nothing_left(sandbox);
}

fn watcher_killed(sandbox: &Sandbox) {
    let containers = scene(sandbox);
    under_way(sandbox);
    process::kill(sandbox.ksync.watcher().expect("a watcher"));
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.at_rest(&containers, CODE);
    nothing_left(sandbox);
}

fn deleted(sandbox: &Sandbox) {
    scene(sandbox);
    under_way(sandbox);
    sandbox.ksync.ok(&["delete", "main"]);
    nothing_left(sandbox);
}
