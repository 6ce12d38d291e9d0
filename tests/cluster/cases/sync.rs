//! From here to every container: the first sync and each kind of change.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{APP, CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds, throughout},
    nodes::Node,
    steps,
};

pub(super) const CASES: &[Case] = &[
    Case::new("first_sync_reaches_every_runtime", first_sync),
    Case::new("watching_is_said_only_of_equal_trees", watching_means_equal),
    Case::new("every_kind_of_edit_arrives", edits),
    Case::new("every_kind_of_entry_arrives", entries),
    Case::new("names_in_decomposed_form_are_warned_of", decomposed),
    Case::new("what_is_no_file_is_warned_of", specials),
    Case::new("much_at_once_arrives", much),
    Case::new("what_no_event_tells_of_is_found_and_counted", unheard),
    Case::new("ignored_files_stay_here", ignored),
    Case::new("ignored_things_hold_no_directory", ignored_things_hold_no_directory),
];

fn make_executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// A little project.
fn project(sandbox: &Sandbox) {
    sandbox.write("index.html", "from here\n");
    sandbox.write("lib/deep/down/a.txt", "a\n");
    sandbox.write("lib/b.txt", "b\n");
    sandbox.write("run.sh", "#!/bin/sh\n");
    make_executable(&sandbox.path("run.sh"));
    fs::create_dir(sandbox.path("empty")).expect("mkdir");
    symlink("lib/b.txt", sandbox.path("link")).expect("symlink");
}

fn first_sync(sandbox: &Sandbox) {
    project(sandbox);
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    let of = |container: &Container, node: &Node| {
        container.node == node.name && container.id.starts_with(&format!("{}://", node.runtime))
    };
    for node in &sandbox.nodes {
        assert!(containers.iter().any(|container| of(container, node)), "{node}: {containers:?}");
    }
    sandbox.sync(APP, CODE);
    for container in &containers {
        sandbox.equal(container, CODE).expect("equal trees");
    }
    let spec = sandbox.watching(&containers, SHORT);
    assert_eq!(spec.containers.iter().filter(|row| row.two_way).count(), 1, "{spec:?}");
}

/// Each time that `get` says so, at once and without any patience, it is so.
fn watching_means_equal(sandbox: &Sandbox) {
    project(sandbox);
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&["create", "--name", "main", "-l", "app=app", &local, CODE]);
    sandbox.watching(&containers, LONG);
    for container in &containers {
        sandbox.equal(container, CODE).expect("equal trees at the first `watching`");
    }
    for round in 0..10 {
        sandbox.write(&format!("file{round}"), vec![b'x'; 1 << 20]);
        // Before the change was noticed it may still say so, of what it knows; then it is soon over.
        eventually("the change in every container, said to be so", SHORT, || {
            let arrived = containers.iter().try_for_each(|container| sandbox.equal(container, CODE));
            let spec = sandbox.ksync.spec("main")?;
            arrived?;
            if spec.status == "watching" { Ok(()) } else { Err(spec.status) }
        });
    }
}

struct Scene<'a> {
    sandbox: &'a Sandbox,
    containers: Vec<Container>,
}

impl<'a> Scene<'a> {
    #[track_caller]
    fn new(sandbox: &'a Sandbox) -> Self {
        project(sandbox);
        let containers = App::web(sandbox).everywhere().apply(sandbox).all();
        sandbox.sync(APP, CODE);
        Self { sandbox, containers }
    }

    #[track_caller]
    fn arrives(&self) {
        self.sandbox.arrives(&self.containers, CODE);
    }
}

fn edits(sandbox: &Sandbox) {
    let scene = Scene::new(sandbox);
    let path = |name: &str| sandbox.path(name);
    let done = |result: std::io::Result<()>| result.expect("change a local file");
    steps(
        &scene,
        &[
            ("an edit", &|s| {
                s.sandbox.write("index.html", "edited\n");
                s.arrives();
            }),
            ("a new file in new directories", &|s| {
                s.sandbox.write("x/y/z/new.txt", "new\n");
                s.arrives();
            }),
            ("an edit that keeps size and time", &|s| {
                let before =
                    fs::metadata(path("index.html")).and_then(|meta| meta.modified()).expect("a time");
                s.sandbox.write("index.html", "EDITED\n");
                let file = fs::File::options().write(true).open(path("index.html")).expect("open");
                done(file.set_modified(before));
                s.arrives();
            }),
            ("a replacement by rename, as editors save", &|s| {
                s.sandbox.write(".index.html.new", "saved\n");
                done(fs::rename(path(".index.html.new"), path("index.html")));
                s.arrives();
            }),
            ("an append", &|s| {
                let content = s.sandbox.text("index.html").expect("the file") + "more\n";
                s.sandbox.write("index.html", content);
                s.arrives();
            }),
            ("a file written again and again", &|s| {
                for round in 0..200 {
                    s.sandbox.write("busy.log", format!("{round}\n"));
                }
                s.arrives();
            }),
            ("a file cut to nothing", &|s| {
                s.sandbox.write("lib/b.txt", "");
                s.arrives();
            }),
        ],
    );
    sandbox.watching(&scene.containers, SHORT);
}

fn entries(sandbox: &Sandbox) {
    let scene = Scene::new(sandbox);
    let path = |name: &str| sandbox.path(name);
    let done = |result: std::io::Result<()>| result.expect("change a local file");
    steps(
        &scene,
        &[
            ("a mode", &|s| {
                make_executable(&path("lib/b.txt"));
                s.arrives();
            }),
            ("a mode of a directory", &|s| {
                done(fs::set_permissions(path("lib"), fs::Permissions::from_mode(0o750)));
                s.arrives();
            }),
            ("a renamed file", &|s| {
                done(fs::rename(path("run.sh"), path("walk.sh")));
                s.arrives();
            }),
            ("a renamed directory", &|s| {
                done(fs::rename(path("lib"), path("library")));
                s.arrives();
            }),
            ("a symlink that points elsewhere now", &|s| {
                done(fs::remove_file(path("link")));
                done(symlink("library/b.txt", path("link")));
                s.arrives();
            }),
            ("a symlink to nothing", &|s| {
                done(symlink("/does/not/exist", path("nowhere")));
                s.arrives();
            }),
            ("an empty directory", &|s| {
                done(fs::create_dir(path("void")));
                s.arrives();
            }),
            ("names of all scripts", &|s| {
                for name in
                    ["größe.txt", "日本語/ファイル.md", "🦀 crab.rs", "a b/c'd \"e\".txt", "#x%y*z?[1]"]
                {
                    s.sandbox.write(name, name);
                }
                s.arrives();
            }),
            ("a deleted file", &|s| {
                done(fs::remove_file(path("walk.sh")));
                s.arrives();
            }),
            ("a deleted directory", &|s| {
                done(fs::remove_dir_all(path("library")));
                s.arrives();
            }),
            ("a file that becomes a directory", &|s| {
                done(fs::remove_file(path("index.html")));
                s.sandbox.write("index.html/in.txt", "in\n");
                s.arrives();
            }),
            ("a directory that becomes a file", &|s| {
                done(fs::remove_dir_all(path("index.html")));
                s.sandbox.write("index.html", "a file again\n");
                s.arrives();
            }),
        ],
    );
    sandbox.watching(&scene.containers, SHORT);
}

/// As macOS and some archives write them. syncthing passes such names over, so nobody may think that they are synced.
fn decomposed(sandbox: &Sandbox) {
    sandbox.write("mo\u{308}glich.txt", "passed over\n");
    sandbox.write("möglich.txt", "synced\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    for container in &containers {
        let read = |name: &str| container.read(sandbox.cluster(), &format!("{CODE}/{name}"));
        assert_eq!(read("möglich.txt").expect("a composed name"), "synced\n");
        assert!(read("mo\u{308}glich.txt").is_err(), "a decomposed name is passed over");
    }
    let warned = |name: &str| {
        let said = sandbox.ksync.run(&["get"]).stderr;
        let line = format!(
            "warning: spec `main`: not synced: {name} (its name is not in Unicode's composed form (NFC))"
        );
        if said.lines().any(|l| l == line) { Ok(()) } else { Err(said) }
    };
    warned("mo\u{308}glich.txt").expect("a warning");
    sandbox.write("gro\u{308}ße.txt", "later\n");
    eventually("a warning of a later name", SHORT, || warned("gro\u{308}ße.txt"));
}

/// A socket that an app has made, here when the sync begins and later; syncthing passes them over.
fn specials(sandbox: &Sandbox) {
    let bind = |name: &str| std::os::unix::net::UnixListener::bind(sandbox.path(name)).expect("a socket");
    let first = bind("first.sock");
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let warned = |expected: &str| {
        let said = sandbox.ksync.run(&["get"]).stderr;
        holds(said == expected, said)
    };
    let line = |name: &str, what: &str| format!("warning: spec `main`: not synced: {name} ({what})\n");
    let socket = |name: &str| line(name, "it is a socket");
    eventually("a warning", SHORT, || warned(&socket("first.sock")));
    let second = bind("second.sock");
    let both = socket("first.sock") + &socket("second.sock");
    eventually("a warning of a later one", SHORT, || warned(&both));
    let name = std::os::unix::ffi::OsStrExt::from_bytes(b"bad\xff");
    std::fs::write(sandbox.local().join::<&std::ffi::OsStr>(name), "").expect("a file");
    let all = line("bad\u{fffd}", "its name is not UTF-8") + &both;
    eventually("a warning of a name", SHORT, || warned(&all));
    std::fs::remove_file(sandbox.path("first.sock")).expect("remove");
    std::fs::remove_file(sandbox.local().join::<&std::ffi::OsStr>(name)).expect("remove");
    eventually("only the other", SHORT, || warned(&socket("second.sock")));
    for container in &containers {
        assert!(container.read(sandbox.cluster(), "/code/second.sock").is_err());
    }
    drop((first, second));
}

fn much(sandbox: &Sandbox) {
    let scene = Scene::new(sandbox);
    steps(
        &scene,
        &[
            ("a file of 20 MB", &|s| {
                let big: Vec<u8> =
                    (0..20u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
                s.sandbox.write("big.bin", big);
                s.arrives();
            }),
            ("300 files at once", &|s| {
                for number in 0..300 {
                    s.sandbox.write(&format!("many/{}/{number}.txt", number % 7), format!("{number}\n"));
                }
                s.arrives();
            }),
            ("300 edits at once", &|s| {
                for number in 0..300 {
                    s.sandbox
                        .write(&format!("many/{}/{number}.txt", number % 7), format!("{number} again\n"));
                }
                s.arrives();
            }),
            ("300 files gone at once", &|s| {
                fs::remove_dir_all(s.sandbox.path("many")).expect("remove");
                s.arrives();
            }),
            ("a directory that goes as soon as it is there", &|s| {
                for round in 0..4 {
                    for number in 0..500 {
                        s.sandbox.write(&format!("brief/{number}"), format!("{round}\n"));
                    }
                    s.arrives();
                    fs::remove_dir_all(s.sandbox.path("brief")).expect("remove");
                    s.arrives();
                    let gone = || holds(!s.sandbox.path("brief").exists(), "it is here again");
                    throughout("what was deleted stays away", Duration::from_millis(500), gone);
                    s.arrives();
                }
            }),
        ],
    );
    sandbox.watching(&scene.containers, Duration::from_secs(10));
}

/// Writes a file by its memory at each line that it reads, with the line; the kernel tells nobody of that.
const BY_MEMORY: &str = "import mmap, sys
file = open(sys.argv[1], 'r+b')
memory = mmap.mmap(file.fileno(), 0)
for line in sys.stdin.buffer:
    memory[:len(line)] = line
    memory.flush()
    print('written', flush=True)";

/// A write through a mapping has no event.
fn unheard(sandbox: &Sandbox) {
    sandbox.write("f", "here, at first\n");
    sandbox.write("g", "g\n");
    let mut program = Command::new("python3");
    program.args(["-c", BY_MEMORY]).arg(sandbox.path("f")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut writer = program.spawn().expect("python3");
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    sandbox.write("g", "an event tells of this\n");
    sandbox.arrives(&containers, CODE);
    writeln!(writer.stdin.as_ref().expect("its stdin"), "here by memory").expect("ask for the write");
    let mut written = [0; 8];
    writer.stdout.as_mut().expect("its stdout").read_exact(&mut written).expect("the write");
    for container in &containers {
        eventually("the write by memory", LONG, || {
            let there = container.read(sandbox.cluster(), "/code/f")?;
            holds(there == "here by memory\n", there)
        });
    }
    eventually("the account of that", LONG, || {
        let missed = sandbox.ksync.missed_here("main")?;
        holds(missed == 1, format!("{missed} changes without an event"))
    });
    drop(writer.stdin.take());
    assert!(writer.wait().expect("its end").success());
}

/// What is never of use to an app, and what the spec names.
fn ignored(sandbox: &Sandbox) {
    sandbox.write("kept.txt", "kept\n");
    sandbox.write(".git/HEAD", "ref: refs/heads/main\n");
    sandbox.write("app/__pycache__/m.pyc", "pyc");
    sandbox.write("app/m.py", "pass\n");
    sandbox.write(".m.py.swp", "swap");
    sandbox.write("note.secret", "secret");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(&[APP, &["--ignore", "*.secret"]].concat(), CODE);
    sandbox.write("late.secret", "secret");
    sandbox.write("late.txt", "late\n");
    let expected = || -> Result<_, String> {
        let tree = sandbox.tree()?.without(".git").without("app/__pycache__").without(".m.py.swp");
        Ok(tree.without("note.secret").without("late.secret"))
    };
    for container in &containers {
        let there = eventually("the last file", SHORT, || {
            let there = container.tree(sandbox.cluster(), CODE)?;
            if there.has("late.txt") { Ok(there) } else { Err(format!("{there:?}")) }
        });
        // index.html was only there, and has been brought here.
        expected()
            .and_then(|here| here.equals(&there, sandbox.cluster().precision()))
            .expect("all but what is ignored");
    }
}

/// What an interpreter has left in a directory goes with it; what a person has named stays, and holds nothing up.
fn ignored_things_hold_no_directory(sandbox: &Sandbox) {
    for name in ["pkg/sub/m.py", "logs/a.txt", "top.txt"] {
        sandbox.write(name, "here\n");
    }
    let containers = App::idle(sandbox).twice_everywhere().apply(sandbox).all();
    sandbox.sync(&[APP, &["--ignore", "*.log"]].concat(), CODE);
    for container in &containers {
        let line = "cd /code && mkdir pkg/__pycache__ pkg/sub/__pycache__ && echo c >pkg/__pycache__/m.pyc && \
                    echo c >pkg/sub/__pycache__/m.pyc && echo c >pkg/sub/.m.py.swp && echo l >logs/x.log";
        container.sh(sandbox.cluster(), line);
    }
    fs::rename(sandbox.path("pkg"), sandbox.path("pkg2")).expect("rename");
    fs::remove_dir_all(sandbox.path("logs")).expect("rm -r");
    for container in &containers {
        eventually("all but what is named", SHORT, || {
            let there = container.sh(sandbox.cluster(), "cd /code && find . -type f | sort");
            holds(there == "./logs/x.log\n./pkg2/sub/m.py\n./top.txt\n", there)
        });
    }
    sandbox.watching(&containers, Duration::from_secs(10));
    // And what comes after.
    sandbox.write("top.txt", "edited\n");
    for container in &containers {
        eventually("an edit", SHORT, || {
            let there = container.read(sandbox.cluster(), "/code/top.txt")?;
            holds(there == "edited\n", there)
        });
    }
    sandbox.watching(&containers, Duration::from_secs(10));
}
