//! ksync.yaml edited by hand: what it says is what runs, and what it says wrongly is told and changes nothing.

use std::{fmt::Write, fs};

use super::{CODE, STILL};
use crate::suite::{
    App, Case, Desk, eventually,
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

fn text(desk: &Desk) -> String {
    fs::read_to_string(desk.ksync.config_file()).expect("read ksync.yaml")
}

fn rewrite(desk: &Desk, text: &str) {
    fs::write(desk.ksync.config_file(), text).expect("write ksync.yaml");
}

fn item(desk: &Desk, name: &str, local: &str, remote: &str) -> String {
    let namespace = &desk.namespace;
    format!(
        "- name: {name}\n  containername: \"\"\n  pod: \"\"\n  selector: app=app\n  namespace: {namespace}\n  \
         localpath: {local}\n  remotepath: {remote}\n  reload: false\n"
    )
}

/// Stderr of a `get` that succeeds.
fn warnings(desk: &Desk) -> String {
    let output = desk.ksync.run(&["get"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    output.stderr
}

fn hand_edit(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let other = desk.scratch("other");
    fs::create_dir(&other).expect("mkdir");
    fs::write(other.join("b.txt"), "b\n").expect("write");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let before = text(desk);
    rewrite(desk, &format!("{before}{}", item(desk, "added", &other.display().to_string(), "/added")));
    desk.ksync.watching("added", 1, LONG);
    assert_eq!(container.read(desk.cluster(), "/added/b.txt").as_deref(), Ok("b\n"));
    desk.ksync.watching("main", 1, SHORT);

    rewrite(desk, &before);
    eventually("the spec to go", SHORT, || {
        let names: Vec<String> = desk.ksync.specs()?.into_iter().map(|spec| spec.name).collect();
        holds(names == ["main"], format!("{names:?}"))
    });
    fs::write(other.join("late.txt"), "late\n").expect("write");
    desk.write("c.txt", "c\n");
    desk.arrives(std::slice::from_ref(&container), CODE);
    assert!(container.read(desk.cluster(), "/added/late.txt").is_err(), "a removed spec goes on");
    assert_eq!(fs::read_to_string(other.join("b.txt")).expect("the file"), "b\n");
}

fn broken(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let before = text(desk);
    rewrite(desk, &format!("{before}- name: [unclosed\n"));
    let line = before.lines().count() + 2;
    let path = desk.ksync.config_file().display().to_string();
    eventually("a warning with line and column", SHORT, || {
        let said = warnings(desk);
        let place = said.contains("line ") && said.contains(" column ");
        holds(said.starts_with("warning: ") && said.contains(&path) && place, said)
    });
    assert!(warnings(desk).contains(&format!("line {line} column 1")), "{}", warnings(desk));
    assert!(desk.ksync.log().contains("column"), "the log says it too");
    desk.write("b.txt", "b\n");
    desk.arrives(std::slice::from_ref(&container), CODE);
    desk.ksync.watching("main", 1, SHORT);
    // A command that would write refuses, and writes nothing.
    let local = desk.local().display().to_string();
    let said = desk.ksync.refused(&["create", "-l", "app=other", &local, "/x"]);
    assert!(said.starts_with("error: ") && said.contains("column"), "{said}");
    assert_eq!(text(desk), format!("{before}- name: [unclosed\n"));

    rewrite(desk, &before);
    eventually("no warning any more", SHORT, || {
        let said = warnings(desk);
        holds(said.is_empty(), said)
    });
    desk.write("c.txt", "c\n");
    desk.arrives(&[container], CODE);
}

fn broken_spec(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let before = text(desk);
    let mut after = before.clone();
    writeln!(after, "- name: wrong\n  selector: app=app\n  localpath: relative\n  remotepath: /x")
        .expect("a string");
    rewrite(desk, &after);
    let line = before.lines().count() + 1;
    eventually("the warning", SHORT, || {
        let said = warnings(desk);
        let expected = format!(
            "warning: spec `wrong` at line {line} column 1: `localpath` is not an absolute path: `relative`\n"
        );
        holds(said == expected, said)
    });
    desk.write("b.txt", "b\n");
    desk.arrives(std::slice::from_ref(&container), CODE);
    // The running spec broken by an edit goes on as it was.
    rewrite(desk, &before.replace("remotepath: /code", "remotepath: code"));
    eventually("the other warning", SHORT, || {
        let said = warnings(desk);
        holds(said.contains("spec `main`") && said.contains("`remotepath` is not an absolute path"), said)
    });
    throughout("the running spec", std::time::Duration::from_secs(1), || {
        let spec = desk.ksync.spec("main")?;
        holds(spec.status == "watching" && spec.containers.len() == 1, format!("{spec:?}"))
    });
    desk.write("c.txt", "c\n");
    desk.arrives(&[container], CODE);
}

/// Two specs of one local path run; the selector of the second is broken.
fn broken_selector(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let before = text(desk);
    let second = item(desk, "second", &desk.local().display().to_string(), "/second");
    rewrite(desk, &format!("{before}{second}"));
    desk.ksync.watching("second", 1, LONG);
    rewrite(desk, &format!("{before}{}", second.replace("selector: app=app", "selector: app in app")));
    let line = before.lines().count() + 4;
    eventually("the warning", SHORT, || {
        let said = warnings(desk);
        let expected = format!(
            "warning: spec `second` at line {line} column 13: can't understand the selector `app in app`: `(` after \
             `in` is expected instead of `app`\n"
        );
        holds(said == expected, said)
    });
    throughout("both specs", std::time::Duration::from_secs(1), || {
        let specs = desk.ksync.specs()?;
        let well = specs.iter().all(|spec| spec.status == "watching" && spec.containers.len() == 1);
        holds(well && specs.len() == 2, format!("{specs:?}"))
    });
    desk.write("b.txt", "b\n");
    desk.arrives(std::slice::from_ref(&container), CODE);
    desk.arrives(&[container], "/second");
}

/// The second is renamed to the first, and stands before it.
fn twice(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let before = text(desk);
    let (head, main) = before.split_once("- name: main").expect("the spec");
    let second = |name: &str| item(desk, name, &desk.local().display().to_string(), "/second");
    let with = |name: &str| format!("{head}{}- name: main{main}", second(name));
    rewrite(desk, &with("second"));
    desk.ksync.watching("second", 1, LONG);
    rewrite(desk, &with("main"));
    let line = head.lines().count() + second("main").lines().count() + 1;
    let expected =
        format!("warning: spec `main` at line {line} column 9: there is another spec of this name\n");
    eventually("the warning", SHORT, || {
        let said = warnings(desk);
        holds(said == expected, said)
    });
    throughout("both specs as they were", std::time::Duration::from_secs(1), || {
        let specs = desk.ksync.specs()?;
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let well = specs.iter().all(|spec| spec.status == "watching" && spec.containers.len() == 1);
        holds(well && names == ["main", "second"], format!("{specs:?}"))
    });
    desk.write("b.txt", "b\n");
    desk.arrives(std::slice::from_ref(&container), CODE);
    desk.arrives(&[container], "/second");
    desk.ksync.ok(&["stop"]);
    let offline = warnings(desk);
    assert!(offline.starts_with(&expected), "`get` without a watcher says it too: {offline}");
}

/// The API server refuses to look for such a pod; nothing is wrong with the cluster or the other spec.
fn refused(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    let other = desk.scratch("other");
    fs::create_dir(&other).expect("mkdir");
    let odd = item(desk, "odd", &other.display().to_string(), "/odd");
    let odd = odd.replace("pod: \"\"", "pod: \"a,b\"").replace("selector: app=app", "selector: \"\"");
    let before = text(desk);
    rewrite(desk, &format!("{before}{odd}"));
    let spec = desk.ksync.becomes("odd", "error", SHORT);
    assert!(spec.reason.starts_with("the cluster refuses it: "), "{spec:?}");
    throughout("the other spec", std::time::Duration::from_secs(2), || {
        let spec = desk.ksync.spec("main")?;
        holds(spec.status == "watching" && spec.containers.len() == 1, format!("{spec:?}"))?;
        let said = warnings(desk);
        holds(said.is_empty(), said)
    });
    desk.write("b.txt", "b\n");
    desk.arrives(&[container], CODE);
    rewrite(desk, &before);
    eventually("the spec to go", SHORT, || {
        let names: Vec<String> = desk.ksync.specs()?.into_iter().map(|spec| spec.name).collect();
        holds(names == ["main"], format!("{names:?}"))
    });
}

fn moved(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(STILL, CODE);
    rewrite(desk, &text(desk).replace("remotepath: /code", "remotepath: /elsewhere"));
    eventually("the other path", LONG, || desk.equal(&container, "/elsewhere"));
    desk.ksync.watching("main", 1, SHORT);
    desk.write("b.txt", "b\n");
    desk.arrives(std::slice::from_ref(&container), "/elsewhere");
    assert!(container.read(desk.cluster(), "/code/b.txt").is_err(), "the old path goes on");
}

fn kept(desk: &Desk) {
    let start = "# mine\napikey: ksync\nfuture: {a: [1, 2]} # odd\nport: 40322\n";
    rewrite(desk, start);
    App::web(desk).apply(desk);
    desk.write("a.txt", "a\n");
    desk.sync(STILL, CODE);
    assert!(text(desk).starts_with(start), "{}", text(desk));
    let marked =
        text(desk).replace("  remotepath: /code\n", "  remotepath: /code # here\n  future-key: [x]\n");
    rewrite(desk, &marked);
    let local = desk.scratch("other").display().to_string();
    fs::create_dir(&local).expect("mkdir");
    desk.ksync.ok(&["create", "--name", "second", "-l", "app=nobody", &local, "/srv"]);
    assert!(text(desk).starts_with(&marked), "{}", text(desk));
    desk.ksync.ok(&["delete", "second"]);
    assert_eq!(text(desk), marked);
}
