//! The watcher's life: one per context, stopped, started again, killed.

use std::fs;

use super::{CODE, STILL};
use crate::suite::{
    App, Case, Desk, Need, eventually,
    eventually::{LONG, SHORT, holds},
    guard::Guard,
    ksync::Ksync,
    process,
    tree::Kind,
};

pub(super) const CASES: &[Case] = &[
    Case::new("two_at_once_is_a_clear_message", two_at_once),
    Case::new("stop_and_start", stop_start),
    Case::new("a_killed_watcher", killed),
    Case::new("a_killed_local_syncthing", killed_syncthing),
    Case::new("delete_lets_go_and_leaves_files", delete),
    Case::new("a_directory_that_another_watcher_holds", held),
    Case::new("a_directory_that_is_taken_over", taken_over),
    Case::new("a_local_directory_that_goes_away", unmounted).needs(&[Need::Processes]),
    Case::new("a_local_directory_that_is_made_anew", made_anew),
    Case::new("one_watcher_for_a_local_directory", one_watcher),
    Case::new("get_in_all_its_forms", get_forms),
];

fn two_at_once(desk: &Desk) {
    desk.ksync.ok(&["watch", "--daemon"]);
    let pid = desk.ksync.watcher().expect("a watcher");
    let context = desk.kubectl().ok(&["config", "current-context"]);
    let context = context.trim();
    let second = desk.ksync.refused(&["watch"]);
    assert_eq!(
        second,
        format!(
            "error: a watcher for context `{context}` already runs (process {pid})\n\
             hint: see what it does with `kubectl ksync get`, end it with `kubectl ksync stop`\n"
        )
    );
    let output = desk.ksync.run(&["watch", "--daemon"]);
    assert_eq!((output.status, output.stdout.as_str()), (Some(0), ""));
    assert_eq!(output.stderr, format!("the watcher for context `{context}` runs already\n"));
    assert_eq!(desk.ksync.watcher(), Some(pid), "the first one goes on");
}

fn stop_start(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let guard = Guard::over(&desk.local());
    desk.ksync.ok(&["stop"]);
    let left = process::of_home(&desk.ksync.home);
    assert!(left.is_empty(), "{left:?}");
    let spec = desk.ksync.spec("main").expect("the spec");
    assert_eq!(spec.status, "stopped");
    assert!(!desk.path(".stignore").exists(), "something of ours was left in the local directory");
    // Nothing is synced now, on either side.
    desk.write("b.txt", "b\n");
    container.sh(desk.cluster(), "echo c >/code/c.txt");
    let nothing = desk.ksync.run(&["stop"]);
    assert_eq!((nothing.status, nothing.stdout.as_str()), (Some(0), ""), "{nothing:?}");
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 1, LONG);
    desk.equal(&container, CODE).expect("equal trees");
    assert_eq!(desk.text("c.txt").as_deref(), Ok("c\n"));
    guard.intact();
}

fn killed(desk: &Desk) {
    for number in 0..30 {
        desk.write(&format!("{number}.txt"), "content\n");
    }
    let containers = App::web(desk).replicas(2).apply(desk).running(2);
    desk.sync(STILL, CODE);
    let guard = Guard::over(&desk.local());
    let watcher = desk.ksync.watcher().expect("a watcher");
    let children = process::children(watcher);
    assert_eq!(children.len(), 1, "its syncthing: {children:?}");
    process::kill(watcher);
    eventually("its syncthing to end with it", SHORT, || {
        let left = process::of_home(&desk.ksync.home);
        holds(left.is_empty(), format!("{left:?}"))
    });
    let spec = desk.ksync.spec("main").expect("the spec");
    assert_eq!(spec.status, "stopped");
    assert!(spec.reason.contains("killed"), "{spec:?}");
    desk.write("meanwhile.txt", "meanwhile\n");
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 2, LONG);
    for container in &containers {
        desk.equal(container, CODE).expect("equal trees");
    }
    guard.intact();
}

fn killed_syncthing(desk: &Desk) {
    for number in 0..30 {
        desk.write(&format!("{number}.txt"), "content\n");
    }
    let containers = App::web(desk).replicas(2).apply(desk).running(2);
    desk.sync(STILL, CODE);
    let guard = Guard::over(&desk.local());
    let watcher = desk.ksync.watcher().expect("a watcher");
    let before = process::children(watcher);
    process::kill(before[0].pid);
    desk.write("meanwhile.txt", "meanwhile\n");
    desk.arrives(&containers, CODE);
    desk.ksync.watching("main", 2, LONG);
    let after = process::children(watcher);
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    guard.intact();
}

fn delete(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let before = container.tree(desk.cluster(), CODE).expect("the container's tree");
    let guard = Guard::over(&desk.local());
    assert_eq!(desk.ksync.ok(&["delete", "main"]), "spec `main` deleted\n");
    assert!(desk.ksync.specs().expect("get").is_empty());
    assert!(!desk.path(".stignore").exists(), "something of ours was left in the local directory");
    desk.write("late.txt", "late\n");
    let after = container.tree(desk.cluster(), CODE).expect("the container's tree");
    assert_eq!(before.equals(&after, desk.cluster().precision()), Ok(()));
    let unknown = desk.ksync.refused(&["delete", "main"]);
    assert_eq!(unknown, "error: spec `main` not found\nhint: there are no specs\n");
    guard.intact();
    // And created anew over what is there.
    desk.sync(STILL, CODE);
    desk.equal(&container, CODE).expect("equal trees");
}

/// Two watchers never write into one directory.
fn held(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let colleague: Ksync = desk.colleague();
    let theirs = desk.scratch("theirs");
    fs::create_dir(&theirs).expect("mkdir");
    fs::write(theirs.join("a.txt"), "theirs\n").expect("write");
    let local = theirs.display().to_string();
    colleague.ok(&["create", "--name", "main", "-l", "app=app", &local, CODE]);
    let spec = colleague.becomes("main", "error", LONG);
    let reason = &spec.containers[0].reason;
    assert!(reason.contains("since"), "who holds it since when: {reason}");
    assert_eq!(container.read(desk.cluster(), "/code/a.txt").as_deref(), Ok("a\n"));
    desk.ksync.watching("main", 1, SHORT);
    desk.ksync.ok(&["delete", "main"]);
    colleague.watching("main", 1, LONG);
    assert_eq!(container.read(desk.cluster(), "/code/a.txt").as_deref(), Ok("theirs\n"));
    assert_eq!(desk.text("a.txt").as_deref(), Ok("a\n"));
}

/// By a person's word only, and the other one is told.
fn taken_over(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let guard = Guard::over(&desk.local());
    let colleague: Ksync = desk.colleague();
    let theirs = desk.scratch("theirs");
    fs::create_dir(&theirs).expect("mkdir");
    fs::write(theirs.join("a.txt"), "theirs\n").expect("write");
    let local = theirs.display().to_string();
    let create = ["create", "--name", "main", "--wait", "--take-over", "-l", "app=app"];
    colleague.ok(&[&create[..], &[&local, CODE]].concat());
    assert_eq!(container.read(desk.cluster(), "/code/a.txt").as_deref(), Ok("theirs\n"));
    let spec = desk.ksync.becomes("main", "error", SHORT);
    assert!(spec.containers[0].reason.contains("is synced by"), "{spec:?}");
    assert!(spec.containers[0].reason.contains("--take-over"), "{spec:?}");
    // It is not taken back by itself, nor while the other one goes on.
    crate::suite::eventually::throughout("the one who has it", std::time::Duration::from_secs(3), || {
        let spec = colleague.spec("main")?;
        holds(spec.status == "watching", format!("{spec:?}"))
    });
    desk.ksync.ok(&["delete", "main"]);
    let local = desk.local().display().to_string();
    desk.ksync.ok(&[&create[..], &[&local, CODE]].concat());
    assert_eq!(container.read(desk.cluster(), "/code/a.txt").as_deref(), Ok("a\n"));
    colleague.becomes("main", "error", SHORT);
    assert_eq!(fs::read_to_string(theirs.join("a.txt")).expect("read"), "theirs\n");
    guard.intact();
}

/// An unmounted disk must not empty the containers. At rest: a scan that has begun reads what is at the path by then.
fn unmounted(desk: &Desk) {
    for number in 0..30 {
        desk.write(&format!("{number}.txt"), "content\n");
    }
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    super::apart::noted(desk, std::time::UNIX_EPOCH);
    let before = container.tree(desk.cluster(), CODE).expect("the container's tree");
    let aside = desk.scratch("aside");
    fs::rename(desk.local(), &aside).expect("rename");
    fs::create_dir(desk.local()).expect("mkdir");
    desk.write("another.txt", "another\n");
    crate::suite::eventually::throughout("the container's files", std::time::Duration::from_secs(4), || {
        let there = container.tree(desk.cluster(), CODE)?;
        before.equals(&there, desk.cluster().precision())
    });
    // For an instant there was none.
    eventually("what is wrong", SHORT, || {
        let spec = desk.ksync.spec("main")?;
        let told = spec
            .containers
            .first()
            .is_some_and(|row| row.reason.contains("is not the directory that it was"));
        holds(spec.status == "error" && told, format!("{spec:?}"))
    });
    fs::remove_dir_all(desk.local()).expect("remove");
    fs::rename(&aside, desk.local()).expect("rename");
    desk.ksync.watching("main", 1, LONG);
    desk.write("0.txt", "edited\n");
    desk.arrives(&[container], CODE);
}

/// A build removes its output directory and makes it again.
fn made_anew(desk: &Desk) {
    for number in 0..30 {
        desk.write(&format!("old/{number}.js"), "old\n");
    }
    let containers = App::web(desk).replicas(2).apply(desk).running(2);
    desk.sync(STILL, CODE);
    eventually("the image's file here", SHORT, || desk.text("index.html"));
    let build = |content: &str| {
        fs::remove_dir_all(desk.local()).expect("remove");
        fs::create_dir(desk.local()).expect("mkdir");
        desk.write("new/app.js", content);
    };
    build("one\n");
    desk.arrives(&containers, CODE);
    build("two\n");
    desk.arrives(&containers, CODE);
    desk.ksync.watching("main", 2, SHORT);
    // For a while there is none.
    fs::remove_dir_all(desk.local()).expect("remove");
    let spec = desk.ksync.becomes("main", "error", SHORT);
    assert!(spec.containers[0].reason.ends_with("is gone"), "{spec:?}");
    fs::create_dir(desk.local()).expect("mkdir");
    desk.write("three.js", "three\n");
    desk.ksync.watching("main", 2, SHORT);
    desk.arrives(&containers, CODE);
    // A directory may: what was emptied there by the removal's first half is newer there than its own removal here.
    let tree = desk.tree().expect("the local tree");
    let files = tree.entries().filter(|(_, node)| node.kind != Kind::Dir);
    let names: Vec<&str> = files.map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["three.js"], "something came back");
    // And while nobody watches.
    desk.ksync.ok(&["stop"]);
    build("four\n");
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 2, LONG);
    desk.arrives(&containers, CODE);
    assert!(!desk.path("three.js").exists(), "what was deleted has come back");
}

/// Neither two that write the same files, nor one that takes away what the other needs.
fn one_watcher(desk: &Desk) {
    desk.write("a.txt", "a\n");
    desk.write(".git/HEAD", "ref: refs/heads/main\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let colleague: Ksync = desk.colleague();
    let local = desk.local().display().to_string();
    colleague.ok(&["create", "--name", "main", "-l", "app=app", &local, "/elsewhere"]);
    let spec = colleague.becomes("main", "error", LONG);
    assert!(spec.reason.contains("synced by another watcher"), "{spec:?}");
    colleague.ok(&["delete", "main"]);
    colleague.ok(&["stop"]);
    assert!(desk.path(".stignore").exists());
    // Whoever takes it away or edits it.
    for spoil in [None, Some("// Written by nobody\n")] {
        match spoil {
            None => fs::remove_file(desk.path(".stignore")).expect("remove"),
            Some(text) => {
                let ours = desk.text(".stignore").expect("read");
                let header = ours.lines().next().unwrap_or_default().to_owned();
                fs::write(desk.path(".stignore"), format!("{header}\n{text}")).expect("write");
            }
        }
        desk.write(".git/index", format!("{spoil:?}"));
        desk.write("a.txt", format!("{spoil:?}"));
        eventually("the edit there", SHORT, || {
            let there = container.read(desk.cluster(), "/code/a.txt")?;
            holds(there == format!("{spoil:?}"), there)
        });
        let there = container.tree(desk.cluster(), CODE).expect("the container's tree");
        assert!(!there.entries().any(|(path, _)| path.starts_with(".git")), "{there:?}");
        assert!(desk.text(".stignore").expect("read").contains(".git\n"));
    }
}

fn get_forms(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    desk.ksync.watching("main", 1, SHORT);
    let (local, pod) = (desk.local().display().to_string(), &container.pod);
    let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let table = desk.ksync.ok(&["get"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(words(lines[0]), ["NAME", "LOCAL", "REMOTE", "STATUS", "POD", "CONTAINER"]);
    assert_eq!(words(lines[1]), ["main", &local, CODE, "watching", pod, "app"]);
    let bare = desk.ksync.ok(&["get", "--no-headers"]);
    assert_eq!((bare.lines().count(), words(&bare)), (1, words(lines[1])));
    let wide = desk.ksync.ok(&["get", "main", "-o", "wide"]);
    for column in ["NAMESPACE", "NODE", "ROLE", "DIRECTION"] {
        assert!(wide.lines().next().is_some_and(|line| line.contains(column)), "{wide}");
    }
    assert!(wide.contains(&container.node) && wide.contains("lead") && wide.contains("both"), "{wide}");
    assert_eq!(desk.ksync.ok(&["get", "-o", "name"]), "spec/main\n");
    let yaml = desk.ksync.ok(&["get", "-o", "yaml"]);
    assert!(
        ["kind: SpecList", "  name: main", "  status: watching"]
            .iter()
            .all(|l| yaml.lines().any(|o| o == *l)),
        "{yaml}"
    );
    assert_eq!(desk.ksync.refused(&["get", "other"]), "error: spec `other` not found\nhint: specs: main\n");
    let version = desk.ksync.ok(&["version"]);
    let lines: Vec<&str> = version.lines().collect();
    let number = env!("CARGO_PKG_VERSION");
    assert_eq!(lines[0], format!("kubectl-ksync {number}"));
    assert!(lines[1].starts_with(&format!("watcher {number} (process ")), "{version}");
    assert!(lines[2].starts_with(&format!("radar {number} on ")), "{version}");
}
