//! From the two-way container to here, and from no other one.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk,
    container::Container,
    eventually,
    eventually::{SHORT, holds, throughout},
    steps,
};

pub(super) const CASES: &[Case] = &[
    Case::new("what_the_container_does_comes_back", comes_back),
    Case::new("what_only_the_container_has_is_brought_here", only_there),
    Case::new("other_replicas_write_for_themselves", others),
    Case::new("to_container_brings_nothing_back", one_way),
    Case::new("local_content_wins_at_the_first_sync", local_wins),
    Case::new("a_container_that_deletes_everything_is_not_believed", mass_deletion),
];

struct Scene<'a> {
    desk: &'a Desk,
    container: Container,
}

impl Scene<'_> {
    #[track_caller]
    fn sh(&self, line: &str) {
        self.container.sh(self.desk.cluster(), &format!("cd {CODE} && {line}"));
    }

    #[track_caller]
    fn comes(&self) {
        eventually("the local tree to equal the container's", SHORT, || {
            self.desk.equal(&self.container, CODE)
        });
    }

    #[track_caller]
    fn here(&self, name: &str, content: &str) {
        self.comes();
        assert_eq!(self.desk.text(name).as_deref(), Ok(content));
    }

    #[track_caller]
    fn gone(&self, name: &str) {
        self.comes();
        assert!(!self.desk.path(name).exists(), "`{name}` is still here");
    }
}

fn comes_back(desk: &Desk) {
    for name in ["a.txt", "b.txt", "dir/c.txt", "dir/d.txt", "e.txt"] {
        desk.write(name, format!("{name}\n"));
    }
    let app = App::web(desk).apply(desk);
    desk.sync(APP, CODE);
    let scene = Scene { desk, container: app.only() };
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
                let mode = fs::metadata(s.desk.path("b.txt")).expect("the file").permissions().mode();
                assert_eq!(mode & 0o777, 0o750);
            }),
            ("a symlink", &|s| {
                s.sh("ln -s a.txt link");
                s.comes();
                assert_eq!(fs::read_link(s.desk.path("link")).expect("a symlink"), Path::new("a.txt"));
            }),
            ("an empty directory", &|s| {
                s.sh("mkdir void");
                s.comes();
                assert!(s.desk.path("void").is_dir());
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
                    s.desk.write("turns.txt", format!("here {round}\n"));
                    s.comes();
                }
            }),
        ],
    );
    desk.ksync.watching("main", 1, SHORT);
}

fn only_there(desk: &Desk) {
    desk.write("here.txt", "here\n");
    let container = App::web(desk).apply(desk).only();
    container.sh(
        desk.cluster(),
        "cd /code && mkdir -p cache/x && echo there >cache/x/there.txt && chmod 600 cache/x/there.txt",
    );
    desk.sync(APP, CODE);
    eventually("what only the container has", SHORT, || desk.equal(&container, CODE));
    assert_eq!(desk.text("cache/x/there.txt").as_deref(), Ok("there\n"));
    assert_eq!(desk.text("index.html").as_deref(), Ok("from the image\n"));
}

fn others(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let containers = App::idle(desk).replicas(2).apply(desk).running(2);
    desk.sync(APP, CODE);
    let two_way = desk.two_way(&containers);
    let other = containers.iter().find(|c| c.id != two_way.id).expect("another container");
    other.sh(desk.cluster(), "echo mine >/code/pid && echo changed >/code/a.txt");
    throughout("silence about what another replica writes", Duration::from_secs(3), || {
        holds(!desk.path("pid").exists(), "pid came")?;
        let here = desk.text("a.txt")?;
        holds(here == "a\n", here)
    });
    two_way.sh(desk.cluster(), "echo ours >/code/ours");
    eventually("what the two-way container writes, here and there", SHORT, || {
        let (here, there) = (desk.text("ours")?, other.read(desk.cluster(), "/code/ours")?);
        holds(here == "ours\n" && there == "ours\n", format!("{here:?} {there:?}"))
    });
    // The next local edit of a file that a replica has changed wins there.
    desk.write("a.txt", "a again\n");
    eventually("the local edit in the other container", SHORT, || {
        let there = other.read(desk.cluster(), "/code/a.txt")?;
        holds(there == "a again\n", there)
    });
}

fn one_way(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(&[APP, &["--direction", "to-container"]].concat(), CODE);
    let spec = desk.ksync.watching("main", 1, SHORT);
    assert!(spec.two_way().is_none(), "{spec:?}");
    container.sh(desk.cluster(), "echo new >/code/new.txt && rm /code/a.txt");
    throughout("silence about what the container does", Duration::from_secs(3), || {
        holds(!desk.path("new.txt").exists() && !desk.path("index.html").exists(), "a file came")?;
        holds(desk.path("a.txt").exists(), "a file was deleted")
    });
    desk.write("b.txt", "b\n");
    eventually("a local change", SHORT, || container.read(desk.cluster(), "/code/b.txt"));
}

/// An old copy in the image, even one with a newer time, never replaces what is here.
fn local_wins(desk: &Desk) {
    desk.write("index.html", "from here, long ago\n");
    let file = fs::File::options().write(true).open(desk.path("index.html")).expect("open");
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("set the time");
    let container = App::web(desk).apply(desk).only();
    desk.sync(APP, CODE);
    desk.equal(&container, CODE).expect("equal trees");
    assert_eq!(desk.text("index.html").as_deref(), Ok("from here, long ago\n"));
}

/// More than half of a folder, deleted at once from inside, waits for a person.
fn mass_deletion(desk: &Desk) {
    for number in 0..40 {
        desk.write(&format!("{number}.txt"), "content\n");
    }
    let container = App::web(desk).apply(desk).only();
    desk.sync(APP, CODE);
    let before = desk.tree().expect("the local tree");
    container.sh(desk.cluster(), "rm -rf /code/*");
    let spec = desk.ksync.becomes("main", "paused", SHORT);
    assert!(spec.reason.contains("deleted"), "{spec:?}");
    throughout("every local file", Duration::from_secs(3), || {
        let lost = before.lost(&desk.local());
        holds(lost.is_empty(), format!("{lost:?}"))
    });
}
