//! The watcher's life: one per context, stopped, started again, killed.

use std::fs;

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox, eventually,
    eventually::{LONG, SHORT, holds},
    ksync::{Ksync, Row},
    process,
    tree::Kind,
    witness::Witness,
};

pub(super) const CASES: &[Case] = &[
    Case::new("two_at_once_is_a_clear_message", two_at_once),
    Case::new("stop_and_start", stop_start),
    Case::new("a_killed_watcher", killed),
    Case::new("a_killed_local_syncthing", killed_syncthing),
    Case::new("delete_lets_go_and_leaves_files", delete).on_each(),
    Case::new("a_directory_that_another_watcher_holds", held).on_each(),
    Case::new("a_directory_that_is_taken_over", taken_over).on_each(),
    Case::new("a_local_directory_that_goes_away", unmounted).needs(&[Need::Processes]),
    Case::new("a_local_directory_that_is_made_anew", made_anew),
    Case::new("one_watcher_for_a_local_directory", one_watcher),
    Case::new("get_in_all_its_forms", get_forms).on_each(),
];

fn two_at_once(sandbox: &Sandbox) {
    sandbox.ksync.ok(&["watch", "--daemon"]);
    let pid = sandbox.ksync.watcher().expect("a watcher");
    let context = sandbox.kubectl().ok(&["config", "current-context"]);
    let context = context.trim();
    let second = sandbox.ksync.refused(&["watch"]);
    assert_eq!(
        second,
        format!(
            "error: a watcher for context `{context}` already runs (process {pid})\n\
             hint: see what it does with `kubectl ksync get`, end it with `kubectl ksync stop`\n"
        )
    );
    let output = sandbox.ksync.run(&["watch", "--daemon"]);
    assert_eq!((output.status, output.stdout.as_str()), (Some(0), ""));
    assert_eq!(output.stderr, format!("the watcher for context `{context}` runs already\n"));
    assert_eq!(sandbox.ksync.watcher(), Some(pid), "the first one goes on");
}

fn stop_start(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let two_way = sandbox.two_way(&containers);
    let witness = Witness::over(&sandbox.local());
    sandbox.ksync.ok(&["stop"]);
    let left = process::of_home(&sandbox.ksync.home);
    assert!(left.is_empty(), "{left:?}");
    let spec = sandbox.ksync.spec("main").expect("the spec");
    assert_eq!(spec.status, "stopped");
    assert!(!sandbox.path(".stignore").exists(), "something of ours was left in the local directory");
    // Nothing is synced now, on either side.
    sandbox.write("b.txt", "b\n");
    two_way.sh(sandbox.cluster(), "echo c >/code/c.txt");
    let nothing = sandbox.ksync.run(&["stop"]);
    assert_eq!((nothing.status, nothing.stdout.as_str()), (Some(0), ""), "{nothing:?}");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.watching(&containers, LONG);
    sandbox.equal(two_way, CODE).expect("equal trees");
    assert_eq!(sandbox.text("c.txt").as_deref(), Ok("c\n"));
    sandbox.arrives(&containers, CODE);
    witness.intact();
}

fn killed(sandbox: &Sandbox) {
    for number in 0..30 {
        sandbox.write(&format!("{number}.txt"), "content\n");
    }
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let witness = Witness::over(&sandbox.local());
    let watcher = sandbox.ksync.watcher().expect("a watcher");
    let children = process::children(watcher);
    assert_eq!(children.len(), 1, "its syncthing: {children:?}");
    process::kill(watcher);
    eventually("its syncthing to end with it", SHORT, || {
        let left = process::of_home(&sandbox.ksync.home);
        holds(left.is_empty(), format!("{left:?}"))
    });
    let spec = sandbox.ksync.spec("main").expect("the spec");
    assert_eq!(spec.status, "stopped");
    assert!(spec.reason.contains("killed"), "{spec:?}");
    sandbox.write("meanwhile.txt", "meanwhile\n");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.watching(&containers, LONG);
    for container in &containers {
        sandbox.equal(container, CODE).expect("equal trees");
    }
    witness.intact();
}

fn killed_syncthing(sandbox: &Sandbox) {
    for number in 0..30 {
        sandbox.write(&format!("{number}.txt"), "content\n");
    }
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let witness = Witness::over(&sandbox.local());
    let watcher = sandbox.ksync.watcher().expect("a watcher");
    let before = process::children(watcher);
    process::kill(before[0].pid);
    sandbox.write("meanwhile.txt", "meanwhile\n");
    sandbox.arrives(&containers, CODE);
    sandbox.watching(&containers, LONG);
    let after = process::children(watcher);
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    witness.intact();
}

fn delete(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    let before = container.tree(sandbox.cluster(), CODE).expect("the container's tree");
    let witness = Witness::over(&sandbox.local());
    assert_eq!(sandbox.ksync.ok(&["delete", "main"]), "spec `main` deleted\n");
    assert!(sandbox.ksync.specs().expect("get").is_empty());
    assert!(!sandbox.path(".stignore").exists(), "something of ours was left in the local directory");
    sandbox.write("late.txt", "late\n");
    let after = container.tree(sandbox.cluster(), CODE).expect("the container's tree");
    assert_eq!(before.equals(&after, sandbox.cluster().precision()), Ok(()));
    let unknown = sandbox.ksync.refused(&["delete", "main"]);
    assert_eq!(unknown, "error: spec `main` not found\nhint: there are no specs\n");
    witness.intact();
    // And created anew over what is there.
    sandbox.sync(NO_RELOAD, CODE);
    sandbox.equal(&container, CODE).expect("equal trees");
}

/// Two watchers never write into one directory.
fn held(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    let colleague: Ksync = sandbox.colleague();
    let other_local = sandbox.scratch("theirs");
    fs::create_dir(&other_local).expect("mkdir");
    fs::write(other_local.join("a.txt"), "theirs\n").expect("write");
    let local = other_local.display().to_string();
    colleague.ok(&["create", "--name", "main", "-l", "app=app", &local, CODE]);
    let spec = colleague.becomes("main", "error", LONG);
    let reason = &spec.containers[0].reason;
    assert!(reason.contains("since"), "who holds it since when: {reason}");
    assert_eq!(container.read(sandbox.cluster(), "/code/a.txt").as_deref(), Ok("a\n"));
    sandbox.ksync.watching("main", 1, SHORT);
    sandbox.ksync.ok(&["delete", "main"]);
    colleague.watching("main", 1, LONG);
    assert_eq!(container.read(sandbox.cluster(), "/code/a.txt").as_deref(), Ok("theirs\n"));
    assert_eq!(sandbox.text("a.txt").as_deref(), Ok("a\n"));
}

/// By a person's word only, and the other one is told.
fn taken_over(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    let witness = Witness::over(&sandbox.local());
    let colleague: Ksync = sandbox.colleague();
    let other_local = sandbox.scratch("theirs");
    fs::create_dir(&other_local).expect("mkdir");
    fs::write(other_local.join("a.txt"), "theirs\n").expect("write");
    let local = other_local.display().to_string();
    let create = ["create", "--name", "main", "--wait", "--take-over", "-l", "app=app"];
    colleague.ok(&[&create[..], &[&local, CODE]].concat());
    assert_eq!(container.read(sandbox.cluster(), "/code/a.txt").as_deref(), Ok("theirs\n"));
    let spec = sandbox.ksync.becomes("main", "error", SHORT);
    assert!(spec.containers[0].reason.contains("is synced by"), "{spec:?}");
    assert!(spec.containers[0].reason.contains("--take-over"), "{spec:?}");
    eventually("the image's file", SHORT, || {
        fs::read_to_string(other_local.join("index.html")).map_err(|error| error.to_string())
    });
    colleague.watching("main", 1, SHORT);
    // It is not taken back by itself, nor while the other one goes on.
    crate::suite::eventually::throughout("the one who has it", std::time::Duration::from_secs(3), || {
        let spec = colleague.spec("main")?;
        holds(spec.status == "watching", format!("{spec:?}"))
    });
    sandbox.ksync.ok(&["delete", "main"]);
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&[&create[..], &[&local, CODE]].concat());
    assert_eq!(container.read(sandbox.cluster(), "/code/a.txt").as_deref(), Ok("a\n"));
    colleague.becomes("main", "error", SHORT);
    assert_eq!(fs::read_to_string(other_local.join("a.txt")).expect("read"), "theirs\n");
    witness.intact();
}

/// An unmounted disk must not empty the containers. At rest: a scan that has begun reads what is at the path by then.
fn unmounted(sandbox: &Sandbox) {
    for number in 0..30 {
        sandbox.write(&format!("{number}.txt"), "content\n");
    }
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    sandbox.arrives(&containers, CODE);
    let before = sandbox.tree().expect("the local tree");
    let aside = sandbox.scratch("aside");
    fs::rename(sandbox.local(), &aside).expect("rename");
    fs::create_dir(sandbox.local()).expect("mkdir");
    sandbox.write("another.txt", "another\n");
    crate::suite::eventually::throughout("the container's files", std::time::Duration::from_secs(4), || {
        containers.iter().try_for_each(|container| {
            let there = container.tree(sandbox.cluster(), CODE)?;
            before.equals(&there, sandbox.cluster().precision())
        })
    });
    // For an instant there was none.
    eventually("what is wrong", SHORT, || {
        let spec = sandbox.ksync.spec("main")?;
        let told = |row: &Row| row.reason.contains("is not the directory that it was");
        holds(spec.status == "error" && spec.containers.iter().all(told), format!("{spec:?}"))
    });
    fs::remove_dir_all(sandbox.local()).expect("remove");
    fs::rename(&aside, sandbox.local()).expect("rename");
    sandbox.watching(&containers, LONG);
    sandbox.write("0.txt", "edited\n");
    sandbox.arrives(&containers, CODE);
}

/// A build removes its output directory and makes it again.
fn made_anew(sandbox: &Sandbox) {
    for number in 0..30 {
        sandbox.write(&format!("old/{number}.js"), "old\n");
    }
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    eventually("the image's file here", SHORT, || sandbox.text("index.html"));
    let build = |content: &str| {
        fs::remove_dir_all(sandbox.local()).expect("remove");
        fs::create_dir(sandbox.local()).expect("mkdir");
        sandbox.write("new/app.js", content);
    };
    build("one\n");
    sandbox.arrives(&containers, CODE);
    build("two\n");
    sandbox.arrives(&containers, CODE);
    sandbox.watching(&containers, SHORT);
    // For a while there is none.
    fs::remove_dir_all(sandbox.local()).expect("remove");
    let spec = sandbox.ksync.becomes("main", "error", SHORT);
    assert!(spec.containers[0].reason.ends_with("is gone"), "{spec:?}");
    fs::create_dir(sandbox.local()).expect("mkdir");
    sandbox.write("three.js", "three\n");
    sandbox.watching(&containers, SHORT);
    sandbox.arrives(&containers, CODE);
    // A directory may: what was emptied there by the removal's first half is newer there than its own removal here.
    let tree = sandbox.tree().expect("the local tree");
    let files = tree.entries().filter(|(_, node)| node.kind != Kind::Dir);
    let names: Vec<&str> = files.map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["three.js"], "something came back");
    // And while nobody watches.
    sandbox.ksync.ok(&["stop"]);
    build("four\n");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.watching(&containers, LONG);
    sandbox.arrives(&containers, CODE);
    assert!(!sandbox.path("three.js").exists(), "what was deleted has come back");
}

/// Neither two that write the same files, nor one that takes away what the other needs.
fn one_watcher(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    sandbox.write(".git/HEAD", "ref: refs/heads/main\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let colleague: Ksync = sandbox.colleague();
    let local = sandbox.local().display().to_string();
    colleague.ok(&["create", "--name", "main", "-l", "app=app", &local, "/elsewhere"]);
    let spec = colleague.becomes("main", "error", LONG);
    assert!(spec.reason.contains("synced by another watcher"), "{spec:?}");
    colleague.ok(&["delete", "main"]);
    colleague.ok(&["stop"]);
    sandbox.write(".git/index", "index");
    sandbox.write("a.txt", "edited\n");
    for container in &containers {
        eventually("the edit there", SHORT, || {
            let there = container.read(sandbox.cluster(), "/code/a.txt")?;
            holds(there == "edited\n", there)
        });
        let there = container.tree(sandbox.cluster(), CODE).expect("the container's tree");
        assert!(!there.entries().any(|(path, _)| path.starts_with(".git")), "{there:?}");
    }
    assert!(!sandbox.path(".stignore").exists(), "something of ours is in the local directory");
}

fn get_forms(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    sandbox.ksync.watching("main", 1, SHORT);
    let (local, pod) = (sandbox.local().display().to_string(), &container.pod);
    let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let table = sandbox.ksync.ok(&["get"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(words(lines[0]), ["NAME", "LOCAL", "REMOTE", "STATUS", "POD", "CONTAINER"]);
    assert_eq!(words(lines[1]), ["main", &local, CODE, "watching", pod, "app"]);
    let bare = sandbox.ksync.ok(&["get", "--no-headers"]);
    assert_eq!((bare.lines().count(), words(&bare)), (1, words(lines[1])));
    let wide = sandbox.ksync.ok(&["get", "main", "-o", "wide"]);
    for column in ["NAMESPACE", "NODE", "DIRECTION"] {
        assert!(wide.lines().next().is_some_and(|line| line.contains(column)), "{wide}");
    }
    assert!(wide.contains(&container.node) && wide.contains("both"), "{wide}");
    assert_eq!(sandbox.ksync.ok(&["get", "-o", "name"]), "spec/main\n");
    let yaml = sandbox.ksync.ok(&["get", "-o", "yaml"]);
    assert!(
        ["kind: SpecList", "  name: main", "  status: watching"]
            .iter()
            .all(|l| yaml.lines().any(|o| o == *l)),
        "{yaml}"
    );
    assert_eq!(
        sandbox.ksync.refused(&["get", "other"]),
        "error: spec `other` not found\nhint: specs: main\n"
    );
    let version = sandbox.ksync.ok(&["version"]);
    let lines: Vec<&str> = version.lines().collect();
    let number = env!("CARGO_PKG_VERSION");
    assert_eq!(lines[0], format!("kubectl-ksync {number}"));
    assert!(lines[1].starts_with(&format!("watcher {number} (process ")), "{version}");
    assert!(lines[2].starts_with(&format!("radar {number} on ")), "{version}");
}
