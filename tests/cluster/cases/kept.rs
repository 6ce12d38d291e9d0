//! What a container's change took away here is kept and can be restored: files that were deleted, and the side that lost
//! where both changed a file, of which no conflict copy reaches anybody.

use super::{APP, CODE};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds},
    process,
};

pub(super) const CASES: &[Case] = &[
    Case::new("what_a_container_deleted_is_restored", restored).on_each(),
    Case::new("what_was_here_before_a_second_change_is_kept", twice_within_a_second).on_each(),
    Case::new("no_conflict_copy_reaches_a_container", conflict).needs(&[Need::Processes]),
    Case::new("what_loses_to_a_later_edit_is_kept", later).needs(&[Need::Processes]),
    Case::new("a_log_that_changes_all_the_time_does_not_fill_what_is_kept", log).on_each(),
];

/// With the watcher running and without one; what is in the way is kept in turn.
fn restored(sandbox: &Sandbox) {
    for name in ["a.txt", "b.txt", "c.txt"] {
        sandbox.write(name, format!("{name}\n"));
    }
    let container = App::idle(sandbox).apply(sandbox).only();
    sandbox.sync(APP, CODE);
    container.sh(sandbox.cluster(), "rm /code/a.txt /code/b.txt && echo theirs >/code/c.txt");
    eventually("the container's changes", SHORT, || {
        let gone = !sandbox.path("a.txt").exists() && !sandbox.path("b.txt").exists();
        holds(gone && sandbox.text("c.txt")? == "theirs\n", "not yet")
    });
    let listed = sandbox.ksync.ok(&["restore", "main", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let items = listed["items"].as_array().expect("a list");
    let seen: Vec<_> = items.iter().map(|item| (item["path"].as_str(), item["why"].as_str())).collect();
    let is = |path, why| (Some(path), Some(why));
    assert_eq!(seen, [is("a.txt", "deleted"), is("b.txt", "deleted"), is("c.txt", "replaced")]);
    assert_eq!(sandbox.ksync.ok(&["restore", "main", "a.txt"]), "`a.txt` is back\n");
    assert_eq!(
        sandbox.ksync.ok(&["restore", "main", "c.txt"]),
        "`c.txt` is back; what was here is kept instead\n"
    );
    sandbox.arrives(std::slice::from_ref(&container), CODE);
    assert_eq!(container.read(sandbox.cluster(), "/code/c.txt").as_deref(), Ok("c.txt\n"));
    sandbox.ksync.ok(&["stop"]);
    assert_eq!(sandbox.ksync.ok(&["restore", "main", "b.txt"]), "`b.txt` is back\n");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.ksync.watching("main", 1, LONG);
    sandbox.arrives(&[container], CODE);
    assert_eq!(sandbox.text("b.txt").as_deref(), Ok("b.txt\n"));
}

/// What a container writes twice within a second replaces what was here once.
fn twice_within_a_second(sandbox: &Sandbox) {
    sandbox.write("d/a.txt", "original\n");
    let container = App::idle(sandbox).apply(sandbox).only();
    sandbox.sync(APP, CODE);
    for round in 0..5 {
        let original = format!("original {round}\n");
        sandbox.write("d/a.txt", &original);
        sandbox.arrives(std::slice::from_ref(&container), CODE);
        container.sh(
            sandbox.cluster(),
            &format!("cd /code/d && for i in 1 2 3; do echo {round}.$i >a.txt; sleep 0.3; done"),
        );
        eventually("the last of the container's changes", SHORT, || {
            let here = sandbox.text("d/a.txt")?;
            holds(here == format!("{round}.3\n"), here)
        });
        let kept = sandbox.ksync.kept();
        assert!(kept.contains(&original), "{round}: {kept:?}");
    }
}

/// Both sides change a file while the watcher stands still, the container last: local content stays all the same.
fn conflict(sandbox: &Sandbox) {
    for name in ["a.txt", "b.txt", "dir/c.txt"] {
        sandbox.write(name, "base\n");
    }
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let two_way = sandbox.two_way(&containers);
    let watcher = sandbox.ksync.watcher().expect("a watcher");
    for round in 0..3 {
        process::stand_still(watcher, true);
        for name in ["a.txt", "dir/c.txt"] {
            sandbox.write(name, format!("here {round}\n"));
        }
        two_way.sh(
            sandbox.cluster(),
            &format!(
                "sleep 1; echo there, later {round} >/code/a.txt; echo there, later {round} >/code/dir/c.txt"
            ),
        );
        process::stand_still(watcher, false);
        let wanted = format!("here {round}\n");
        eventually("local content on both sides", SHORT, || {
            for container in &containers {
                let there = container.tree(sandbox.cluster(), CODE)?;
                let copy = there.entries().find(|(path, _)| path.contains("conflict"));
                assert!(copy.is_none(), "a conflict copy is in a container: {copy:?}");
                are_both(sandbox, container, &["a.txt", "dir/c.txt"], &wanted)?;
            }
            Ok(())
        });
    }
    let tree = sandbox.tree().expect("the local tree");
    assert!(!tree.entries().any(|(path, _)| path.contains("conflict")), "{tree:?}");
    // What the containers had is fetched after that.
    eventually("the account of the conflicts", SHORT, || {
        let listed = sandbox.ksync.ok(&["conflicts", "main", "-o", "name"]);
        let of = |name: &str| listed.lines().filter(|line| line.starts_with(name)).count();
        holds((of("a.txt@"), of("dir/c.txt@")) == (3, 3), listed.clone())
    });
    let kept = sandbox.ksync.kept();
    assert!(kept.iter().any(|content| content == "there, later 2\n"), "{kept:?}");
    let warned = sandbox.ksync.run(&["get", "main"]);
    let line = "warning: spec `main`: 6 conflicts, local content stays: see `kubectl ksync conflicts main`\n";
    assert_eq!((warned.status, warned.stderr.as_str()), (Some(0), line));
    let said = sandbox.ksync.ok(&["conflicts", "main", "--clear"]);
    assert_eq!(said, "6 conflicts dismissed; `kubectl ksync restore` has what was kept\n");
    assert_eq!(sandbox.ksync.run(&["get", "main"]).stderr, "");
}

/// Whether these files have the `wanted` content on both sides.
fn are_both(sandbox: &Sandbox, container: &Container, names: &[&str], wanted: &str) -> Result<(), String> {
    for name in names {
        let (here, there) =
            (sandbox.text(name)?, container.read(sandbox.cluster(), &format!("{CODE}/{name}"))?);
        holds(here == wanted && there == wanted, format!("{name}: {here:?}, {there:?}"))?;
    }
    Ok(())
}

/// As above, but the edit here is the last.
fn later(sandbox: &Sandbox) {
    let names = ["a.txt", "dir/c.txt"];
    for name in names {
        sandbox.write(name, "base\n");
    }
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let two_way = sandbox.two_way(&containers);
    let watcher = sandbox.ksync.watcher().expect("a watcher");
    for round in 0..3 {
        process::stand_still(watcher, true);
        let line = format!("echo there {round} | tee /code/a.txt >/code/dir/c.txt; sleep 1");
        two_way.sh(sandbox.cluster(), &line);
        for name in names {
            sandbox.write(name, format!("here, later {round}\n"));
        }
        process::stand_still(watcher, false);
        let count = 2 * (round + 1);
        eventually("local content everywhere, the other kept", SHORT, || {
            let wanted = format!("here, later {round}\n");
            for container in &containers {
                are_both(sandbox, container, &names, &wanted)?;
                let there = container.tree(sandbox.cluster(), CODE)?;
                let copy = there.entries().find(|(path, _)| path.contains("conflict"));
                holds(copy.is_none(), format!("a conflict copy is in a container: {copy:?}"))?;
            }
            let kept = sandbox.ksync.kept();
            let lost = kept.iter().filter(|content| content.starts_with("there ")).count();
            holds(lost == count, format!("{kept:?}"))
        });
    }
    let tree = sandbox.tree().expect("the local tree");
    assert!(!tree.entries().any(|(path, _)| path.contains("conflict")), "{tree:?}");
    let listed = sandbox.ksync.ok(&["conflicts", "main", "-o", "name"]);
    let of = |name: &str| listed.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!((of("a.txt@"), of("dir/c.txt@")), (3, 3), "{listed}");
}

fn log(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::idle(sandbox).apply(sandbox).only();
    sandbox.sync(APP, CODE);
    container.sh(sandbox.cluster(), "for i in $(seq 60); do echo $i >>/code/app.log; sleep 0.1; done");
    sandbox.arrives(std::slice::from_ref(&container), CODE);
    let listed = sandbox.ksync.ok(&["restore", "main", "-o", "name"]);
    let copies = listed.lines().filter(|line| line.starts_with("app.log@")).count();
    assert!((1..=5).contains(&copies), "{copies} copies: {listed}");
}
