//! From the two-way container to here, and from no other one.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds, throughout},
    steps,
};

pub(super) const CASES: &[Case] = &[
    Case::new("what_the_container_does_comes_back", comes_back).on_each(),
    Case::new("other_replicas_write_for_themselves", others),
    Case::new("to_container_brings_nothing_back", one_way),
    Case::new("many_long_names_at_once", many_long_names).on_each(),
];

struct Scene<'a> {
    sandbox: &'a Sandbox,
    container: Container,
}

impl Scene<'_> {
    #[track_caller]
    fn sh(&self, line: &str) {
        self.container.sh(self.sandbox.cluster(), &format!("cd {CODE} && {line}"));
    }

    #[track_caller]
    fn comes(&self) {
        eventually("the local tree to equal the container's", SHORT, || {
            self.sandbox.equal(&self.container, CODE)
        });
    }

    #[track_caller]
    fn here(&self, name: &str, content: &str) {
        self.comes();
        assert_eq!(self.sandbox.text(name).as_deref(), Ok(content));
    }

    #[track_caller]
    fn gone(&self, name: &str) {
        self.comes();
        assert!(!self.sandbox.path(name).exists(), "`{name}` is still here");
    }
}

/// More and longer names than go in one request, each byte three in an address.
fn many_long_names(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::idle(sandbox).apply(sandbox);
    sandbox.sync(APP, CODE);
    let scene = Scene { sandbox, container: app.only() };
    let name = "ü".repeat(60);
    scene.sh(&format!(
        "mkdir -p made/{name} && i=0; while [ $i -lt 3000 ]; do echo $i >made/{name}/{name}$i; i=$((i+1)); done"
    ));
    eventually("all of the files", LONG, || sandbox.equal(&scene.container, CODE));
    // And what comes after them.
    scene.sh("echo later >later.txt");
    scene.here("later.txt", "later\n");
}

fn comes_back(sandbox: &Sandbox) {
    for name in ["a.txt", "b.txt", "dir/c.txt", "dir/d.txt", "e.txt"] {
        sandbox.write(name, format!("{name}\n"));
    }
    let app = App::web(sandbox).apply(sandbox);
    sandbox.sync(APP, CODE);
    let scene = Scene { sandbox, container: app.only() };
    steps(
        &scene,
        &[
            ("a new file", &|s| {
                s.sh("echo new >new.txt");
                s.here("new.txt", "new\n");
            }),
            ("a new file in new directories", &|s| {
                s.sh("mkdir -p p/q && echo deep >p/q/deep.txt");
                s.here("p/q/deep.txt", "deep\n");
            }),
            ("an edit", &|s| {
                s.sh("echo edited >a.txt");
                s.here("a.txt", "edited\n");
            }),
            ("an append", &|s| {
                s.sh("echo more >>a.txt");
                s.here("a.txt", "edited\nmore\n");
            }),
            ("a mode", &|s| {
                s.sh("chmod 750 b.txt");
                s.comes();
                let mode = fs::metadata(s.sandbox.path("b.txt")).expect("the file").permissions().mode();
                assert_eq!(mode & 0o777, 0o750);
            }),
            ("a symlink", &|s| {
                s.sh("ln -s a.txt link");
                s.comes();
                assert_eq!(fs::read_link(s.sandbox.path("link")).expect("a symlink"), Path::new("a.txt"));
            }),
            ("an empty directory", &|s| {
                s.sh("mkdir void");
                s.comes();
                assert!(s.sandbox.path("void").is_dir());
            }),
            ("a renamed file", &|s| {
                s.sh("mv b.txt b2.txt");
                s.here("b2.txt", "b.txt\n");
                s.gone("b.txt");
            }),
            ("a renamed directory", &|s| {
                s.sh("mv dir folder");
                s.here("folder/c.txt", "dir/c.txt\n");
                s.gone("dir");
            }),
            ("a deleted file", &|s| {
                s.sh("rm e.txt");
                s.gone("e.txt");
            }),
            ("a deleted file that comes again", &|s| {
                s.sh("echo again >e.txt");
                s.here("e.txt", "again\n");
            }),
            ("a unicode name", &|s| {
                s.sh("echo ü >größe-日本.txt");
                s.here("größe-日本.txt", "ü\n");
            }),
            ("50 files at once", &|s| {
                s.sh("mkdir many && for i in $(seq 50); do echo $i >many/$i; done");
                s.here("many/50", "50\n");
            }),
            ("edits from both sides, in turns", &|s| {
                for round in 0..5 {
                    s.sh(&format!("echo there {round} >turns.txt"));
                    s.here("turns.txt", &format!("there {round}\n"));
                    s.sandbox.write("turns.txt", format!("here {round}\n"));
                    s.comes();
                }
            }),
        ],
    );
    sandbox.ksync.watching("main", 1, SHORT);
}

fn others(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let two_way = sandbox.two_way(&containers);
    let others: Vec<&Container> = containers.iter().filter(|c| c.id != two_way.id).collect();
    assert!(!others.is_empty(), "{containers:?}");
    for other in &others {
        other.sh(sandbox.cluster(), "echo mine >/code/pid && echo changed >/code/a.txt");
    }
    throughout("silence about what another replica writes", Duration::from_secs(3), || {
        holds(!sandbox.path("pid").exists(), "pid came")?;
        let here = sandbox.text("a.txt")?;
        holds(here == "a\n", here)
    });
    two_way.sh(sandbox.cluster(), "echo ours >/code/ours");
    for other in &others {
        eventually("what the two-way container writes, here and there", SHORT, || {
            let (here, there) = (sandbox.text("ours")?, other.read(sandbox.cluster(), "/code/ours")?);
            holds(here == "ours\n" && there == "ours\n", format!("{here:?} {there:?}"))
        });
    }
    // The next local edit of a file that a replica has changed wins there.
    sandbox.write("a.txt", "a again\n");
    for other in &others {
        eventually("the local edit in another container", SHORT, || {
            let there = other.read(sandbox.cluster(), "/code/a.txt")?;
            holds(there == "a again\n", there)
        });
    }
}

fn one_way(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(&[APP, &["--direction", "to-container"]].concat(), CODE);
    let spec = sandbox.watching(&containers, SHORT);
    assert!(spec.two_way().is_none(), "{spec:?}");
    for container in &containers {
        container.sh(sandbox.cluster(), "echo new >/code/new.txt && rm /code/a.txt");
    }
    throughout("silence about what the container does", Duration::from_secs(3), || {
        holds(!sandbox.path("new.txt").exists() && !sandbox.path("index.html").exists(), "a file came")?;
        holds(sandbox.path("a.txt").exists(), "a file was deleted")
    });
    sandbox.write("b.txt", "b\n");
    for container in &containers {
        eventually("a local change", SHORT, || container.read(sandbox.cluster(), "/code/b.txt"));
    }
}
