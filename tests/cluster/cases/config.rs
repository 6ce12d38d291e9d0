//! ksync.yaml edited by hand: what it says is what runs, and what it says wrongly is told and changes nothing.

use std::{fmt::Write, fs, time::Duration};

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds, throughout},
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_hand_edit_adds_and_removes_live", hand_edit),
    Case::new("a_broken_edit_is_told_and_changes_nothing", broken),
    Case::new("a_broken_spec_spares_the_others", broken_spec),
    Case::new("a_selector_that_is_none_spares_the_others", broken_selector),
    Case::new("two_specs_of_one_name_change_nothing", twice),
    Case::new("a_spec_that_the_cluster_refuses_is_alone", refused),
    Case::new("a_moved_spec_follows", moved),
    Case::new("unknown_keys_and_comments_stay", kept),
];

fn text(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.ksync.config_file()).expect("read ksync.yaml")
}

fn rewrite(sandbox: &Sandbox, text: &str) {
    fs::write(sandbox.ksync.config_file(), text).expect("write ksync.yaml");
}

fn item(sandbox: &Sandbox, name: &str, local: &str, remote: &str) -> String {
    let namespace = &sandbox.namespace;
    format!(
        "- name: {name}\n  containername: \"\"\n  pod: \"\"\n  selector: app=app\n  namespace: {namespace}\n  \
         localpath: {local}\n  remotepath: {remote}\n  reload: false\n"
    )
}

/// Long enough for a disturbance that should not be.
const QUIET: Duration = Duration::from_secs(1);

/// Whether all containers of a spec are in sync, of which there are as many as these.
fn watched(sandbox: &Sandbox, name: &str, containers: &[Container]) -> Result<(), String> {
    let spec = sandbox.ksync.spec(name)?;
    holds(spec.status == "watching" && spec.containers.len() == containers.len(), format!("{spec:?}"))
}

/// Stderr of a `get` that succeeds.
fn warnings(sandbox: &Sandbox) -> String {
    let output = sandbox.ksync.run(&["get"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    output.stderr
}

fn hand_edit(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let other = sandbox.scratch("other");
    fs::create_dir(&other).expect("mkdir");
    fs::write(other.join("b.txt"), "b\n").expect("write");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let before = text(sandbox);
    rewrite(sandbox, &format!("{before}{}", item(sandbox, "added", &other.display().to_string(), "/added")));
    sandbox.ksync.watching("added", containers.len(), LONG);
    for container in &containers {
        assert_eq!(container.read(sandbox.cluster(), "/added/b.txt").as_deref(), Ok("b\n"));
    }
    sandbox.watching(&containers, SHORT);

    rewrite(sandbox, &before);
    eventually("the spec to go", SHORT, || {
        let names: Vec<String> = sandbox.ksync.specs()?.into_iter().map(|spec| spec.name).collect();
        holds(names == ["main"], format!("{names:?}"))
    });
    fs::write(other.join("late.txt"), "late\n").expect("write");
    sandbox.write("c.txt", "c\n");
    sandbox.arrives(&containers, CODE);
    for container in &containers {
        assert!(container.read(sandbox.cluster(), "/added/late.txt").is_err(), "a removed spec goes on");
    }
    assert_eq!(fs::read_to_string(other.join("b.txt")).expect("the file"), "b\n");
}

fn broken(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let before = text(sandbox);
    rewrite(sandbox, &format!("{before}- name: [unclosed\n"));
    let line = before.lines().count() + 2;
    let path = sandbox.ksync.config_file().display().to_string();
    eventually("a warning with line and column", SHORT, || {
        let said = warnings(sandbox);
        let place = said.contains("line ") && said.contains(" column ");
        holds(said.starts_with("warning: ") && said.contains(&path) && place, said)
    });
    assert!(warnings(sandbox).contains(&format!("line {line} column 1")), "{}", warnings(sandbox));
    assert!(sandbox.ksync.log().contains("column"), "the log says it too");
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
    sandbox.watching(&containers, SHORT);
    // A command that would write refuses, and writes nothing.
    let local = sandbox.local().display().to_string();
    let said = sandbox.ksync.refused(&["create", "-l", "app=other", &local, "/x"]);
    assert!(said.starts_with("error: ") && said.contains("column"), "{said}");
    assert_eq!(text(sandbox), format!("{before}- name: [unclosed\n"));

    rewrite(sandbox, &before);
    eventually("no warning any more", SHORT, || {
        let said = warnings(sandbox);
        holds(said.is_empty(), said)
    });
    sandbox.write("c.txt", "c\n");
    sandbox.arrives(&containers, CODE);
}

fn broken_spec(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let before = text(sandbox);
    let mut after = before.clone();
    writeln!(after, "- name: wrong\n  selector: app=app\n  localpath: relative\n  remotepath: /x")
        .expect("a string");
    rewrite(sandbox, &after);
    let line = before.lines().count() + 1;
    eventually("the warning", SHORT, || {
        let said = warnings(sandbox);
        let expected = format!(
            "warning: spec `wrong` at line {line} column 1: `localpath` is not an absolute path: `relative`\n"
        );
        holds(said == expected, said)
    });
    sandbox.write("b.txt", "b\n");
    sandbox.at_rest(&containers, CODE);
    // The running spec broken by an edit goes on as it was.
    rewrite(sandbox, &before.replace("remotepath: /code", "remotepath: code"));
    eventually("the other warning", SHORT, || {
        let said = warnings(sandbox);
        holds(said.contains("spec `main`") && said.contains("`remotepath` is not an absolute path"), said)
    });
    throughout("the running spec", QUIET, || watched(sandbox, "main", &containers));
    sandbox.write("c.txt", "c\n");
    sandbox.arrives(&containers, CODE);
}

/// Two specs of one local path run; the selector of the second is broken.
fn broken_selector(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let before = text(sandbox);
    let second = item(sandbox, "second", &sandbox.local().display().to_string(), "/second");
    rewrite(sandbox, &format!("{before}{second}"));
    sandbox.ksync.watching("second", containers.len(), LONG);
    sandbox.at_rest(&containers, CODE);
    rewrite(sandbox, &format!("{before}{}", second.replace("selector: app=app", "selector: app in app")));
    let line = before.lines().count() + 4;
    eventually("the warning", SHORT, || {
        let said = warnings(sandbox);
        let expected = format!(
            "warning: spec `second` at line {line} column 13: can't understand the selector `app in app`: `(` after \
             `in` is expected instead of `app`\n"
        );
        holds(said == expected, said)
    });
    throughout("both specs", QUIET, || {
        ["main", "second"].iter().try_for_each(|name| watched(sandbox, name, &containers))
    });
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
    sandbox.arrives(&containers, "/second");
}

/// The second is renamed to the first, and stands before it.
fn twice(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let before = text(sandbox);
    let (head, main) = before.split_once("- name: main").expect("the spec");
    let second = |name: &str| item(sandbox, name, &sandbox.local().display().to_string(), "/second");
    let with = |name: &str| format!("{head}{}- name: main{main}", second(name));
    rewrite(sandbox, &with("second"));
    sandbox.ksync.watching("second", containers.len(), LONG);
    sandbox.at_rest(&containers, CODE);
    rewrite(sandbox, &with("main"));
    let line = head.lines().count() + second("main").lines().count() + 1;
    let expected =
        format!("warning: spec `main` at line {line} column 9: there is another spec of this name\n");
    eventually("the warning", SHORT, || {
        let said = warnings(sandbox);
        holds(said == expected, said)
    });
    throughout("both specs as they were", QUIET, || {
        let names: Vec<String> = sandbox.ksync.specs()?.into_iter().map(|spec| spec.name).collect();
        holds(names == ["main", "second"], format!("{names:?}"))?;
        names.iter().try_for_each(|name| watched(sandbox, name, &containers))
    });
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
    sandbox.arrives(&containers, "/second");
    sandbox.ksync.ok(&["stop"]);
    let offline = warnings(sandbox);
    assert!(offline.starts_with(&expected), "`get` without a watcher says it too: {offline}");
}

/// The API server refuses to look for such a pod; nothing is wrong with the cluster or the other spec.
fn refused(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let other = sandbox.scratch("other");
    fs::create_dir(&other).expect("mkdir");
    let odd = item(sandbox, "odd", &other.display().to_string(), "/odd");
    let odd = odd.replace("pod: \"\"", "pod: \"a,b\"").replace("selector: app=app", "selector: \"\"");
    let before = text(sandbox);
    sandbox.at_rest(&containers, CODE);
    rewrite(sandbox, &format!("{before}{odd}"));
    let spec = sandbox.ksync.becomes("odd", "error", SHORT);
    assert!(spec.reason.starts_with("the cluster refuses it: "), "{spec:?}");
    throughout("the other spec", QUIET * 2, || {
        watched(sandbox, "main", &containers)?;
        let said = warnings(sandbox);
        holds(said.is_empty(), said)
    });
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
    rewrite(sandbox, &before);
    eventually("the spec to go", SHORT, || {
        let names: Vec<String> = sandbox.ksync.specs()?.into_iter().map(|spec| spec.name).collect();
        holds(names == ["main"], format!("{names:?}"))
    });
}

fn moved(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    rewrite(sandbox, &text(sandbox).replace("remotepath: /code", "remotepath: /elsewhere"));
    for container in &containers {
        eventually("the other path", LONG, || sandbox.equal(container, "/elsewhere"));
    }
    sandbox.watching(&containers, SHORT);
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, "/elsewhere");
    for container in &containers {
        assert!(container.read(sandbox.cluster(), "/code/b.txt").is_err(), "the old path goes on");
    }
}

fn kept(sandbox: &Sandbox) {
    let start = "# mine\napikey: ksync\nfuture: {a: [1, 2]} # odd\nport: 40322\n";
    rewrite(sandbox, start);
    App::web(sandbox).everywhere().apply(sandbox);
    sandbox.write("a.txt", "a\n");
    sandbox.sync(NO_RELOAD, CODE);
    assert!(text(sandbox).starts_with(start), "{}", text(sandbox));
    let marked =
        text(sandbox).replace("  remotepath: /code\n", "  remotepath: /code # here\n  future-key: [x]\n");
    rewrite(sandbox, &marked);
    let local = sandbox.scratch("other").display().to_string();
    fs::create_dir(&local).expect("mkdir");
    sandbox.ksync.ok(&["create", "--name", "second", "-l", "app=nobody", &local, "/srv"]);
    assert!(text(sandbox).starts_with(&marked), "{}", text(sandbox));
    sandbox.ksync.ok(&["delete", "second"]);
    assert_eq!(text(sandbox), marked);
}
