//! What happened while the two sides were apart: a deletion stays one, an edit stays one, and what both changed is not
//! lost.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk, eventually,
    eventually::{LONG, SHORT, holds},
};

pub(super) const CASES: &[Case] = &[
    Case::new("deleted_here_stays_deleted", deleted_here),
    Case::new("deleted_here_is_no_more_in_a_new_pod", deleted_before_rollout),
    Case::new("edited_there_comes_here", edited_there),
    Case::new("edited_on_both_sides_is_kept", both),
    Case::new("the_first_sync_as_it_was_asked_for", initial),
];

/// Even when the watcher ends the moment that all is in sync.
fn deleted_here(desk: &Desk) {
    for name in ["a.txt", "b.txt", "dir/c.txt", "dir/d.txt"] {
        desk.write(name, name);
    }
    let containers = App::web(desk).replicas(2).apply(desk).running(2);
    desk.sync(APP, CODE);
    desk.ksync.ok(&["stop"]);
    fs::remove_file(desk.path("a.txt")).expect("remove");
    fs::remove_dir_all(desk.path("dir")).expect("remove");
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 2, LONG);
    desk.arrives(&containers, CODE);
    assert!(!desk.path("a.txt").exists() && !desk.path("dir").exists(), "what was deleted has come back");
}

/// Once it has been noted that both sides were equal, at this time or later.
#[track_caller]
pub(super) fn noted(desk: &Desk, since: SystemTime) {
    eventually("the base to be written", SHORT, || {
        let times = desk.ksync.bases().iter().filter_map(|base| base.metadata().ok()?.modified().ok()).max();
        holds(times.is_some_and(|time| time >= since), format!("{times:?}"))
    });
}

/// The image has the file; the local side once had it too and has deleted it.
fn deleted_before_rollout(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::web(desk).replicas(2).apply(desk);
    let containers = app.running(2);
    // Its app would make `index.html` again at each reload.
    desk.sync(&[APP, &["--reload=false"]].concat(), CODE);
    eventually("the image's file here", SHORT, || desk.text("index.html"));
    noted(desk, UNIX_EPOCH);
    let before = SystemTime::now();
    fs::remove_file(desk.path("index.html")).expect("remove");
    desk.arrives(&containers, CODE);
    noted(desk, before);
    let containers = app.restart(2);
    let ids: Vec<&str> = containers.iter().map(|c| c.id.as_str()).collect();
    desk.ksync.watching_ids("main", &ids, LONG);
    desk.arrives(&containers, CODE);
    assert!(!desk.path("index.html").exists(), "what was deleted has come back from the image");
}

fn edited_there(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(APP, CODE);
    noted(desk, UNIX_EPOCH);
    desk.ksync.ok(&["stop"]);
    container.sh(desk.cluster(), "echo edited there >/code/a.txt && echo new >/code/new.txt");
    desk.write("b.txt", "b\n");
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 1, LONG);
    eventually("equal trees", SHORT, || desk.equal(&container, CODE));
    assert_eq!(desk.text("a.txt").as_deref(), Ok("edited there\n"));
    assert_eq!(desk.text("new.txt").as_deref(), Ok("new\n"));
}

/// The local content wins; the other is kept where ksync keeps such things.
fn both(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(APP, CODE);
    noted(desk, UNIX_EPOCH);
    desk.ksync.ok(&["stop"]);
    container.sh(desk.cluster(), "echo edited there >/code/a.txt");
    desk.write("a.txt", "edited here\n");
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 1, LONG);
    eventually("equal trees", SHORT, || desk.equal(&container, CODE));
    assert_eq!(desk.text("a.txt").as_deref(), Ok("edited here\n"));
    let tree = desk.tree().expect("the local tree");
    assert!(!tree.entries().any(|(path, _)| path.contains("conflict")), "{tree:?}");
    let kept = desk.ksync.kept();
    assert!(
        kept.iter().any(|content| content == "edited there\n"),
        "the container's content is lost: {kept:?}"
    );
    let listed = desk.ksync.ok(&["conflicts", "main", "-o", "name"]);
    assert!(listed.starts_with("a.txt@") && listed.lines().count() == 1, "{listed}");
}

/// What is there already differs, and the newer one of the two is on either side.
fn initial(desk: &Desk) {
    let container = App::web(desk).apply(desk).only();
    let create = |name: &str, flags: &[&str]| {
        let here = desk.scratch(name);
        fs::create_dir(&here).expect("mkdir");
        for (file, age) in [("older.txt", 4000), ("newer.txt", 0)] {
            fs::write(here.join(file), "here\n").expect("write");
            let when = SystemTime::now() - std::time::Duration::from_secs(age);
            let opened = fs::File::options().write(true).open(here.join(file)).expect("open");
            opened.set_modified(when).expect("set the time");
        }
        let there = format!("/{name}");
        let script = format!(
            "mkdir {there} && for f in older newer; do echo there >{there}/$f.txt; done && touch -d @$(($(date +%s) - 2000)) {there}/*"
        );
        container.sh(desk.cluster(), &script);
        let local = here.display().to_string();
        desk.ksync
            .ok(&[&["create", "--name", name, "--wait", "-l", "app=app"], flags, &[&local, &there]].concat());
        let read = |file: &str| -> String {
            let text = fs::read_to_string(here.join(file)).expect("read");
            let other = container.read(desk.cluster(), &format!("{there}/{file}"));
            assert_eq!(other.as_deref(), Ok(text.as_str()), "{name} {file}");
            text
        };
        (read("older.txt"), read("newer.txt"))
    };
    let told = |older: &str, newer: &str| (format!("{older}\n"), format!("{newer}\n"));
    assert_eq!(create("plain", &[]), told("here", "here"));
    assert_eq!(create("remote", &["--initial", "remote"]), told("there", "there"));
    assert_eq!(create("newest", &["--initial", "newest"]), told("there", "here"));
    assert_eq!(create("out", &["--direction", "to-container"]), told("here", "here"));
    let kept = desk.ksync.kept();
    let count = |content: &str| kept.iter().filter(|kept| kept.as_str() == content).count();
    assert_eq!((count("here\n"), count("there\n")), (3, 5), "what lost is kept: {kept:?}");
    // One side was asked to win, so that the other did not is nothing to be told of.
    desk.ksync.no_conflicts();
    let why = |name: &str| desk.ksync.ok(&["restore", name]).matches(" first-sync ").count();
    assert_eq!((why("plain"), why("remote"), why("newest")), (2, 0, 1));
    // One way only.
    container.sh(desk.cluster(), "echo new >/out/new.txt && echo edited there >/out/newer.txt");
    fs::write(desk.scratch("out").join("late.txt"), "late\n").expect("write");
    eventually("the edit there", SHORT, || container.read(desk.cluster(), "/out/late.txt"));
    desk.ksync.watching("out", 1, SHORT);
    assert!(!desk.scratch("out").join("new.txt").exists());
    assert_eq!(fs::read_to_string(desk.scratch("out").join("newer.txt")).expect("read"), "here\n");
}
