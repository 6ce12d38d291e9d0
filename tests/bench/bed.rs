//! A container in sync, on a node of one's choice: where the short things are measured.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rand::RngExt;

use crate::{
    bench::Bench,
    observer,
    suite::{
        App, Sandbox,
        container::Container,
        eventually::{LONG, eventually, holds},
        nodes::Node,
    },
};

/// Where the apps have their files.
pub(crate) const CODE: &str = "/code";

/// A node's runtime with its version, as rows name it: `containerd 1.6`.
pub(crate) fn runtime(node: &Node) -> String {
    let version: Vec<&str> = node.runtime_version.trim_start_matches('v').split('.').take(2).collect();
    format!("{} {}", node.runtime, version.join("."))
}

/// A sandbox with one container, in sync.
pub(crate) struct Bed {
    pub(crate) sandbox: Sandbox,
    pub(crate) container: Container,
    pub(crate) runtime: String,
}

impl Bed {
    pub(crate) fn new(bench: &Bench, node: &Node) -> Self {
        let sandbox = bench.on(node, "bed");
        sandbox.write("index.html", "from here\n");
        sandbox.write("back.txt", "from here\n");
        let container = App::idle(&sandbox).apply(&sandbox).only();
        sync(&sandbox);
        Self { sandbox, container, runtime: runtime(node) }
    }

    /// A path below the synced directory of the container.
    pub(crate) fn there(&self, bench: &Bench, name: &str) -> PathBuf {
        observer::inside(bench, &self.container, &format!("{CODE}/{name}"))
    }

    /// Takes a path away on both sides, and waits until nothing is to be done any more.
    pub(crate) fn remove(&self, bench: &Bench, name: &str) {
        let (here, there) = (self.sandbox.path(name), self.there(bench, name));
        if here.is_dir() {
            std::fs::remove_dir_all(&here).expect("remove");
        } else {
            std::fs::remove_file(&here).expect("remove");
        }
        eventually(&format!("`{name}` to be gone there"), LONG, || holds(!there.exists(), "it is there"));
        at_rest(&self.sandbox, 1);
    }
}

/// Starts to sync the sandbox's directory; the app itself is left alone.
pub(crate) fn sync(sandbox: &Sandbox) {
    sync_into(sandbox, CODE);
}

/// The same, to a directory of one's choice.
pub(crate) fn sync_into(sandbox: &Sandbox, remote: &str) {
    sandbox.sync(&["--selector", "app=app", "--reload=false", "--timeout=140s"], remote);
}

/// The same where it takes longer than a command may.
pub(crate) fn sync_within(sandbox: &Sandbox, limit: Duration) {
    let local = sandbox.local().display().to_string();
    let args = ["create", "--name", "main", "--selector", "app=app", "--reload=false", &local, CODE];
    sandbox.ksync.ok(&args);
    watching_slowly(sandbox, 1, limit);
}

/// Waits for all of so many containers, and takes little of the processor meanwhile.
pub(crate) fn watching_slowly(sandbox: &Sandbox, containers: usize, limit: Duration) {
    let (begun, ready) = (Instant::now(), format!("{containers}/{containers}"));
    loop {
        let spec = sandbox.ksync.spec("main");
        if spec.as_ref().is_ok_and(|spec| spec.status == "watching" && spec.ready == ready) {
            return;
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} for {ready} containers: {spec:?}");
        thread::sleep(Duration::from_millis(500));
    }
}

/// Waits until all of so many containers are in sync, and a little more.
pub(crate) fn at_rest(sandbox: &Sandbox, containers: usize) {
    sandbox.ksync.watching("main", containers, LONG);
    pause();
}

/// The time between two edits of a person, never the same: part of what is measured.
pub(crate) fn pause() {
    thread::sleep(Duration::from_millis(rand::rng().random_range(500..750)));
}
