//! The first sync of a container that has files already: which side wins, and what comes here.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use super::{APP, CODE};
use crate::suite::{App, Case, Sandbox, eventually, eventually::SHORT};

pub(super) const CASES: &[Case] = &[
    Case::new("what_only_the_container_has_is_brought_here", only_there).on_each(),
    Case::new("local_content_wins_at_the_first_sync", local_wins).on_each(),
    Case::new("the_first_sync_as_it_was_asked_for", as_asked).on_each(),
];

fn only_there(sandbox: &Sandbox) {
    sandbox.write("here.txt", "here\n");
    let container = App::web(sandbox).apply(sandbox).only();
    container.sh(
        sandbox.cluster(),
        "cd /code && mkdir -p cache/x && echo there >cache/x/there.txt && chmod 600 cache/x/there.txt",
    );
    sandbox.sync(APP, CODE);
    eventually("what only the container has", SHORT, || sandbox.equal(&container, CODE));
    assert_eq!(sandbox.text("cache/x/there.txt").as_deref(), Ok("there\n"));
    assert_eq!(sandbox.text("index.html").as_deref(), Ok("from the image\n"));
}

/// An old copy in the image, even one with a newer time, never replaces what is here.
fn local_wins(sandbox: &Sandbox) {
    sandbox.write("index.html", "from here, long ago\n");
    let file = fs::File::options().write(true).open(sandbox.path("index.html")).expect("open");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("set the time");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(APP, CODE);
    sandbox.equal(&container, CODE).expect("equal trees");
    assert_eq!(sandbox.text("index.html").as_deref(), Ok("from here, long ago\n"));
}

/// What is there already differs, and the newer one of the two is on either side.
fn as_asked(sandbox: &Sandbox) {
    let container = App::web(sandbox).apply(sandbox).only();
    let create = |name: &str, flags: &[&str]| {
        let here = sandbox.scratch(name);
        fs::create_dir(&here).expect("mkdir");
        for (file, age) in [("older.txt", 4000), ("newer.txt", 0)] {
            fs::write(here.join(file), "here\n").expect("write");
            let when = SystemTime::now() - Duration::from_secs(age);
            let opened = fs::File::options().write(true).open(here.join(file)).expect("open");
            opened.set_modified(when).expect("set the time");
        }
        let there = format!("/{name}");
        let script = format!(
            "mkdir {there} && for f in older newer; do echo there >{there}/$f.txt; done && touch -d @$(($(date +%s) - 2000)) {there}/*"
        );
        container.sh(sandbox.cluster(), &script);
        let local = here.display().to_string();
        sandbox
            .ksync
            .ok(&[&["create", "--name", name, "--wait", "-l", "app=app"], flags, &[&local, &there]].concat());
        let read = |file: &str| -> String {
            let text = fs::read_to_string(here.join(file)).expect("read");
            let other = container.read(sandbox.cluster(), &format!("{there}/{file}"));
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
    let kept = sandbox.ksync.kept();
    let count = |content: &str| kept.iter().filter(|kept| kept.as_str() == content).count();
    assert_eq!((count("here\n"), count("there\n")), (3, 5), "what lost is kept: {kept:?}");
    // One side was asked to win, so that the other did not is nothing to be told of.
    sandbox.ksync.no_conflicts();
    let why = |name: &str| sandbox.ksync.ok(&["restore", name]).matches(" first-sync ").count();
    assert_eq!((why("plain"), why("remote"), why("newest")), (2, 0, 1));
    // One way only.
    container.sh(sandbox.cluster(), "echo new >/out/new.txt && echo edited there >/out/newer.txt");
    fs::write(sandbox.scratch("out").join("late.txt"), "late\n").expect("write");
    eventually("the edit there", SHORT, || container.read(sandbox.cluster(), "/out/late.txt"));
    sandbox.ksync.watching("out", 1, SHORT);
    assert!(!sandbox.scratch("out").join("new.txt").exists());
    assert_eq!(fs::read_to_string(sandbox.scratch("out").join("newer.txt")).expect("read"), "here\n");
}
