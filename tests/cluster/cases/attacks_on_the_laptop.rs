//! Attacks of a container on the machine of whoever syncs with it. Each has worked: git ran the container's command, 3 GB were
//! taken in `kept/` unasked, links led to files of the laptop, and names did things to a terminal.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command, time::Duration};

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds, throughout},
    ksync::Spec,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_repository_whose_config_names_a_program", repository).on_each(),
    Case::new("a_sparse_file_over_a_small_one", sparse).on_each(),
    Case::new("links_that_lead_out", links).on_each(),
    Case::new("names_that_do_things_to_a_terminal", names).on_each(),
    Case::new("names_and_trees_that_no_tool_expects", trees).on_each(),
    Case::new("who_trusts_a_container_is_asked_nothing", trusted).on_each(),
];

/// In sync with one container, with a file of 6 bytes.
fn scene(sandbox: &Sandbox) -> Container {
    sandbox.write("data", "small\n");
    let container = App::idle(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    container
}

/// Waits until the spec asks about something.
#[track_caller]
fn asks(sandbox: &Sandbox, about: &str) -> Spec {
    eventually(&format!("a question about {about}"), LONG, || {
        let spec = sandbox.ksync.spec("main")?;
        let asks = spec.status == "confirm" && spec.reason.contains(about);
        holds(asks, format!("{spec:?}"))?;
        Ok(spec)
    })
}

/// As a prompt or an editor does, in every directory.
fn run_git(dir: &Path) {
    for dir in [dir.to_owned(), dir.join("r"), dir.join("slow")] {
        if dir.is_dir() {
            let mut git = Command::new("git");
            // Its answer is no matter.
            let _ = git
                .arg("-C")
                .arg(dir)
                .arg("status")
                .env("GIT_CEILING_DIRECTORIES", "/")
                .output()
                .expect("git");
        }
    }
}

fn repository(sandbox: &Sandbox) {
    let container = scene(sandbox);
    let owned = sandbox.scratch("owned");
    let config = format!(
        "printf '[core]\\n\\trepositoryformatversion = 0\\n\\tbare = false\\n\\tworktree = ..\\n\\tfsmonitor = \"touch {}\"\\n'",
        owned.display()
    );
    // All at once, and one part after the other.
    container.sh(
        sandbox.cluster(),
        &format!(
            "mkdir -p /tmp/r/objects /tmp/r/refs && echo 'ref: refs/heads/main' >/tmp/r/HEAD && {config} >/tmp/r/config && \
             mv /tmp/r /code/r && mkdir -p /code/slow/objects && {config} >/code/slow/config && \
             echo 'ref: refs/heads/main' >/code/slow/HEAD"
        ),
    );
    asks(sandbox, "1 directory that git takes for a repository (`r`)");
    eventually("what is no repository yet", SHORT, || {
        holds(sandbox.path("slow/HEAD").exists() && sandbox.path("slow/config").exists(), "not here")
    });
    container.sh(sandbox.cluster(), "mkdir /code/slow/refs");
    let spec = asks(sandbox, "2 directories that git takes for repositories");
    run_git(&sandbox.local());
    assert!(!owned.exists(), "git ran the container's command");
    assert!(!sandbox.path("r").exists() && !sandbox.path("slow/refs").exists(), "{spec:?}");
    // Local edits go on meanwhile.
    sandbox.write("data", "edited\n");
    eventually("a local edit", SHORT, || {
        let there = container.read(sandbox.cluster(), "/code/data")?;
        holds(there == "edited\n", there)
    });
    let said = sandbox.ksync.ok(&["decline", "main"]);
    assert!(said.ends_with("ignored from now on, in ksync.yaml: /r /slow/refs\n"), "{said}");
    sandbox.ksync.watching("main", 1, LONG);
    run_git(&sandbox.local());
    assert!(!owned.exists() && !sandbox.path("r").exists());
    // It is the repository that makes the difference: with all of it, git runs the command.
    fs::create_dir(sandbox.path("slow/refs")).expect("mkdir");
    run_git(&sandbox.local());
    assert!(owned.exists(), "the attack is none");
}

/// Bytes that files take below a directory.
fn taken(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => taken(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(of).sum()
}

fn sparse(sandbox: &Sandbox) {
    const MOST: u64 = 8 << 20;
    let container = scene(sandbox);
    let home = sandbox.ksync.home.join("contexts");
    let before = taken(&home);
    container.sh(sandbox.cluster(), "truncate -s 3G /code/data && truncate -s 3G /code/new");
    asks(sandbox, "2 files over `max-file` (`data` and 1 more); 6.4 GB in all");
    assert_eq!(sandbox.text("data").as_deref(), Ok("small\n"));
    // A conflict brings it here no more.
    sandbox.write("data", "mine\n");
    asks(sandbox, "1 replaced file that is too large to be kept unasked (`data`)");
    eventually("the local edit", SHORT, || {
        let there = container.sh(sandbox.cluster(), "head -c 5 /code/data");
        holds(there == "mine\n", there)
    });
    throughout("what is taken here", Duration::from_secs(2), || {
        let more = (taken(&home) + taken(&sandbox.local())).saturating_sub(before);
        holds(more < MOST && !sandbox.path("new").exists(), format!("{more} bytes"))
    });
    let said = sandbox.ksync.ok(&["decline", "main"]);
    assert!(said.ends_with("ignored from now on, in ksync.yaml: /new\n"), "{said}");
    sandbox.ksync.watching("main", 1, LONG);
    assert_eq!(sandbox.text("data").as_deref(), Ok("mine\n"));
    assert_eq!(container.sh(sandbox.cluster(), "ls -A /code"), "data\nnew\n", "what is not kept is dropped");
    assert_eq!(sandbox.ksync.ok(&["restore", "main", "-o", "name"]), "");
}

fn links(sandbox: &Sandbox) {
    let container = scene(sandbox);
    container.sh(
        sandbox.cluster(),
        "mkdir -p /code/.venv/bin /code/d && ln -s /usr/bin/python3 /code/.venv/bin/python && \
         ln -s ../../../etc/passwd /code/d/up && ln -s d/up /code/via && ln -s ../data /code/d/in",
    );
    asks(
        sandbox,
        "3 symlinks that lead out of the directory (`.venv/bin/python -> /usr/bin/python3` and 2 more)",
    );
    eventually("the one that stays inside", SHORT, || sandbox.text("d/in"));
    for path in [".venv/bin/python", "d/up", "via"] {
        assert!(fs::symlink_metadata(sandbox.path(path)).is_err(), "{path}");
    }
    let said = sandbox.ksync.ok(&["accept", "main"]);
    assert!(
        said.contains("3 symlinks that lead out of the directory") && said.ends_with(" brought here\n"),
        "{said}"
    );
    sandbox.ksync.watching("main", 1, LONG);
    sandbox.equal(&container, CODE).expect("equal trees");
}

fn names(sandbox: &Sandbox) {
    let container = scene(sandbox);
    let odd = "a\u{1b}]0;title\u{7}\u{202e}\nb";
    container
        .sh(sandbox.cluster(), r#"cd /code && printf x >"$(printf 'a\033]0;title\007\342\200\256\nb')""#);
    eventually("the file", SHORT, || sandbox.text(odd));
    container.sh(sandbox.cluster(), "rm /code/a*");
    eventually("its end", SHORT, || holds(!sandbox.path(odd).exists(), "it is here"));
    let shown = r"a\u{1b}]0;title\u{7}\u{202e}\nb";
    for args in [&["restore", "main"][..], &["restore", "main", "-o", "name"], &["restore", "main", shown]] {
        let output = sandbox.ksync.run(args);
        let is_plain = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains(shown) && said.chars().all(is_plain), "{args:?}: {said:?}");
    }
    assert_eq!(sandbox.text(odd).as_deref(), Ok("x"));
    let log = sandbox.ksync.log();
    assert!(!log.contains('\u{1b}') && !log.contains('\u{202e}'), "the watcher's log");
}

/// All that a container's root can make in its own directory.
const TREES: &str = r#"
cd /code
mkdir -p .GIT/hooks .git 'dir/..x' .stfolder && echo '#!/bin/sh' >.GIT/hooks/post-checkout
printf 1 >"$(printf 'new\nline')"; printf 2 >"$(printf 'not-utf8-\377')"; printf 3 >"$(printf 'nfd-e\314\201')"
printf 4 >'-rf'; printf 5 >' '; printf 6 >'back\slash'; printf 7 >'CON'; printf 8 >'a:b'; printf 9 >'%s%n$(id)`id`'
printf x >.ksync.0001.tmp; printf x >.syncthing.a.tmp; printf x >.stignore
name=$(printf '%0255d' 0); printf long >"$name"
mkfifo pipe; mknod device c 1 3; ln -s loop loop; ln -s . here; ln -s .. up; ln ./-rf hard
deep=dir; n=0; while [ $n -lt 60 ]; do deep="$deep/$(printf '%060d' $n)"; n=$((n+1)); done; mkdir -p "$deep"
(cd "$deep" && mkdir -p "$(printf '%0200d' 1)/$(printf '%0200d' 2)/$(printf '%0200d' 3)" && echo deep >"$(printf '%0200d' 1)/f")
echo last >last
"#;

/// Whatever it is called and however it is nested: it stays below the directory, and everything else goes on.
fn trees(sandbox: &Sandbox) {
    let container = scene(sandbox);
    let beside = sandbox.scratch("beside");
    fs::write(&beside, "untouched").expect("write");
    container.sh(sandbox.cluster(), TREES);
    eventually("what comes last", LONG, || sandbox.text("last"));
    eventually("what may come", SHORT, || {
        let names = ["new\nline", "-rf", " ", "back\\slash", "CON", "a:b", "%s%n$(id)`id`", "hard"];
        let missing: Vec<&str> = names.into_iter().filter(|name| !sandbox.path(name).exists()).collect();
        holds(missing.is_empty(), format!("{missing:?}"))
    });
    // Nothing of what does things to git, syncthing or ksync itself, and nothing that is no file.
    let here: Vec<String> = fs::read_dir(sandbox.local())
        .expect("the local directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let never =
        [".git", ".GIT", ".stfolder", ".ksync.0001.tmp", ".syncthing.a.tmp", ".stignore", "pipe", "device"];
    let came: Vec<&&str> = never.iter().filter(|name| here.iter().any(|is| is == *name)).collect();
    assert!(came.is_empty(), "{came:?} of {here:?}");
    assert!(!here.iter().any(|name| name.starts_with("not-utf8") || name.starts_with("nfd-")), "{here:?}");
    assert_eq!(fs::read_to_string(&beside).expect("read"), "untouched");
    let said = sandbox.ksync.run(&["get", "-o", "wide"]);
    let said = format!("{}{}", said.stdout, said.stderr);
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    // Edits here go on.
    sandbox.write("data", "edited\n");
    eventually("a local edit", SHORT, || {
        let there = container.read(sandbox.cluster(), "/code/data")?;
        holds(there == "edited\n", there)
    });
}

fn trusted(sandbox: &Sandbox) {
    let container = App::idle(sandbox).apply(sandbox).only();
    sandbox.sync(&[NO_RELOAD, &["--trust-container"]].concat(), CODE);
    container.sh(
        sandbox.cluster(),
        "ln -s /etc/passwd /code/out && mkdir -p /code/r/objects /code/r/refs && echo x >/code/r/HEAD && truncate -s 60M /code/f",
    );
    eventually("all of it", LONG, || sandbox.equal(&container, CODE));
    sandbox.ksync.watching("main", 1, LONG);
}
