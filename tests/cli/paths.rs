//! Paths, names and patterns that `create` refuses before it asks anybody.

use std::fs;

use super::bench::{Bench, check, refusal, set_mode};

fn create<'a>(local: &'a str, remote: &'a str) -> Vec<&'a str> {
    vec!["create", "-l", "app=app", local, remote]
}

#[test]
fn local_paths() {
    let bench = Bench::new();
    fs::write(bench.path("file"), "").unwrap();
    bench.refuses(
        &create("none", "/code"),
        "error: local path `none` does not exist\nhint: create the directory first\n",
    );
    bench.refuses(
        &create("file", "/code"),
        "error: local path `file` is not a directory\nhint: give the directory that the file is in\n",
    );
    bench.refuses(
        &create("/", "/code"),
        "error: the whole file system can't be synced\nhint: give a directory below `/`\n",
    );
}

#[test]
fn an_unreadable_local_path() {
    let bench = Bench::new();
    set_mode(&bench.path("local"), 0o000);
    let refusal = refusal("error: can't read local path `local`: Permission denied (os error 13)\n");
    check(&mut bench.powerless(&create("local", "/code")), refusal);
    assert!(!bench.config().exists());
}

#[test]
fn remote_paths() {
    let bench = Bench::new();
    for relative in ["code", "./code", ""] {
        bench.refuses(
            &create("local", relative),
            &format!(
                "error: remote path `{relative}` is not absolute\n\
                 hint: give the path inside the container, for example `/code`\n"
            ),
        );
    }
    for root in ["/", "//", "/a/.."] {
        bench.refuses(
            &create("local", root),
            "error: the container's whole file system can't be synced\n\
             hint: give the directory that the app runs from, for example `/code`\n",
        );
    }
    bench.refuses(
        &create("local", "/proc/1"),
        "error: remote path `/proc/1` is on a kernel file system `/proc`\n",
    );
}

#[test]
fn names() {
    let bench = Bench::new();
    for name in ["", "a b", "a/b", "ü"] {
        bench.refuses(
            &[&create("local", "/code")[..], &["--name", name]].concat(),
            &format!(
                "error: `{name}` can't be a spec's name\n\
                 hint: use up to 63 letters, digits, `-`, `_` and `.`, starting with a letter or digit\n"
            ),
        );
    }
}

#[test]
fn the_name_of_a_broken_spec_is_taken() {
    let bench = Bench::new();
    bench.write_config("spec:\n- name: bad\n  localpath: here\n");
    bench.refuses(
        &[&create("local", "/code")[..], &["--name", "bad"]].concat(),
        "error: there is a broken spec of this name: spec `bad` at line 2 column 1: `localpath` is not an absolute \
         path: `here`\n\
         hint: mend it, give another `--name`, or run `kubectl ksync delete bad` first\n",
    );
}

#[test]
fn selectors() {
    let bench = Bench::new();
    for (selector, why) in [
        ("app in web", "`(` after `in` is expected instead of `web`"),
        ("app==,=x", "a label is expected instead of `=`"),
        ("", "it names no label"),
    ] {
        bench.refuses(
            &["create", "-l", selector, "local", "/code"],
            &format!(
                "error: can't understand the selector `{selector}`: {why}\n\
                 hint: for example `app=api` or `app=api,tier!=test`\n"
            ),
        );
    }
}

#[test]
fn reload_modes() {
    let bench = Bench::new();
    let refuses = |mode: &str, why: &str| {
        let flag = format!("--reload={mode}");
        let args = [&create("local", "/code")[..], &[flag.as_str()]].concat();
        bench.refuses(&args, &format!("error: --reload: {why}\n"));
    };
    refuses("sometimes", "`sometimes` is none of auto, process, container, signal:NAME");
    for name in ["", "hup", "FOO", "KILL", "SEGV"] {
        let why = format!("`{name}` is no signal that an app can handle, such as HUP or USR1");
        refuses(&format!("signal:{name}"), &why);
    }
}

#[test]
fn a_syncthing_that_is_none() {
    let bench = Bench::new();
    fs::write(bench.path("file"), "not a program").unwrap();
    let output = bench.command(&["init", "--syncthing", "file"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains("file"), "{stderr}");
    assert!(!bench.home().join("bin/syncthing").exists());
}
