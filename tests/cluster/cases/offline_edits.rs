//! What happened while the two sides were apart: a deletion stays one, an edit stays one, and what both changed is not
//! lost.

use std::fs;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Sandbox, eventually,
    eventually::{LONG, SHORT},
};

pub(super) const CASES: &[Case] = &[
    Case::new("deleted_here_stays_deleted", deleted_here),
    Case::new("deleted_here_is_no_more_in_a_new_pod", deleted_before_rollout),
    Case::new("edited_there_comes_here", edited_there).on_each(),
    Case::new("edited_on_both_sides_is_kept", both).on_each(),
];

/// Even when the watcher ends the moment that all is in sync.
fn deleted_here(sandbox: &Sandbox) {
    for name in ["a.txt", "b.txt", "dir/c.txt", "dir/d.txt"] {
        sandbox.write(name, name);
    }
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    sandbox.ksync.ok(&["stop"]);
    fs::remove_file(sandbox.path("a.txt")).expect("remove");
    fs::remove_dir_all(sandbox.path("dir")).expect("remove");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.watching(&containers, LONG);
    sandbox.arrives(&containers, CODE);
    assert!(
        !sandbox.path("a.txt").exists() && !sandbox.path("dir").exists(),
        "what was deleted has come back"
    );
}

/// The image has the file; the local side once had it too and has deleted it.
fn deleted_before_rollout(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).everywhere().apply(sandbox);
    let containers = app.all();
    // Its app would make `index.html` again at each reload.
    sandbox.sync(&[APP, &["--reload=false"]].concat(), CODE);
    eventually("the image's file here", SHORT, || sandbox.text("index.html"));
    fs::remove_file(sandbox.path("index.html")).expect("remove");
    sandbox.arrives(&containers, CODE);
    let containers = app.restart();
    sandbox.watching(&containers, LONG);
    sandbox.arrives(&containers, CODE);
    assert!(!sandbox.path("index.html").exists(), "what was deleted has come back from the image");
}

fn edited_there(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(APP, CODE);
    sandbox.ksync.ok(&["stop"]);
    container.sh(sandbox.cluster(), "echo edited there >/code/a.txt && echo new >/code/new.txt");
    sandbox.write("b.txt", "b\n");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.ksync.watching("main", 1, LONG);
    eventually("equal trees", SHORT, || sandbox.equal(&container, CODE));
    assert_eq!(sandbox.text("a.txt").as_deref(), Ok("edited there\n"));
    assert_eq!(sandbox.text("new.txt").as_deref(), Ok("new\n"));
}

/// The local content wins; the other is kept where ksync keeps such things.
fn both(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(APP, CODE);
    sandbox.ksync.ok(&["stop"]);
    container.sh(sandbox.cluster(), "echo edited there >/code/a.txt");
    sandbox.write("a.txt", "edited here\n");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.ksync.watching("main", 1, LONG);
    eventually("equal trees", SHORT, || sandbox.equal(&container, CODE));
    assert_eq!(sandbox.text("a.txt").as_deref(), Ok("edited here\n"));
    let tree = sandbox.tree().expect("the local tree");
    assert!(!tree.entries().any(|(path, _)| path.contains("conflict")), "{tree:?}");
    let kept = sandbox.ksync.kept();
    assert!(
        kept.iter().any(|content| content == "edited there\n"),
        "the container's content is lost: {kept:?}"
    );
    let listed = sandbox.ksync.ok(&["conflicts", "main", "-o", "name"]);
    assert!(listed.starts_with("a.txt@") && listed.lines().count() == 1, "{listed}");
}
