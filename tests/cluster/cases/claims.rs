//! `get` claims no more than was compared: the first `watching` after a write is of both sides with the write in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::{CODE, NO_RELOAD};
use crate::suite::{App, Case, Need, Sandbox, container::Container, stopwatch::median_and_longest};

pub(super) const CASES: &[Case] = &[
    Case::new("what_a_container_has_written_is_compared_before_get_claims_it", there).on_each().needs(NEEDS),
    Case::new("what_was_written_here_is_compared_before_get_claims_it", here).on_each().needs(NEEDS),
];

const NEEDS: &[Need] = &[Need::Processes, Need::DiskRoom];
/// Long enough for a large file, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Each is a process that has ended when `get` is asked.
const LINES: &[&str] = &[
    "echo one >small",
    "i=0; while [ $i -lt 300 ]; do echo $i >f$i; i=$((i+1)); done",
    "echo two and more >>small",
    "head -c 200000000 /dev/urandom >new && mv new large.bin",
    "rm f1 f2 f3",
    "mkdir -p a/b && echo deep >a/b/file && mv a moved",
    "echo three, and more than that >small",
    "i=0; while [ $i -lt 300 ]; do echo $i once more >f$i; i=$((i+1)); done",
    "head -c 20000000 /dev/urandom >middle.bin",
    "head -c 1000 /dev/urandom >>middle.bin",
    "echo four >small.new && mv small.new small",
];

/// A container's directory as the node has it, to be looked at within a moment.
fn place(sandbox: &Sandbox, container: &Container) -> PathBuf {
    let pid = container.pid(sandbox.cluster()).expect("its process");
    format!("/proc/{pid}/root{CODE}").into()
}

/// What is in a directory: sizes of files, `None` for directories. Not ksync's own.
fn shape(dir: &Path) -> io::Result<BTreeMap<PathBuf, Option<u64>>> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(dir.join(&at))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".ksync.") {
                continue;
            }
            let (path, meta) = (at.join(entry.file_name()), entry.metadata()?);
            if meta.is_dir() {
                todo.push(path.clone());
            }
            found.insert(path, meta.is_file().then_some(meta.len()));
        }
    }
    Ok(found)
}

/// What differs between both sides right now, in a few words.
fn difference(local: &Path, remote: &Path) -> Option<String> {
    let (here, there) = (shape(local), shape(remote));
    let (Ok(here), Ok(there)) = (here, there) else { return Some("something moves".to_owned()) };
    let differs = |path: &&PathBuf| here.get(*path) != there.get(*path);
    let paths: BTreeSet<&PathBuf> = here.keys().chain(there.keys()).filter(differs).collect();
    let first = paths.first()?;
    Some(format!("{} paths, first `{}`", paths.len(), first.display()))
}

/// After each write, `get` is asked from the moment when its writer has ended.
fn written(sandbox: &Sandbox, write: impl Fn(&Container, &str)) {
    sandbox.write("a.txt", "a\n");
    let container = App::idle(sandbox).replicas(1).apply(sandbox).only();
    sandbox.sync(&[NO_RELOAD, &["--trust-container"]].concat(), CODE);
    at_rest(sandbox, &container);
    let remote = place(sandbox, &container);
    let mut untrue = Vec::new();
    for line in LINES {
        write(&container, line);
        let begun = Instant::now();
        loop {
            let spec = sandbox.ksync.spec("main").expect("the spec");
            if spec.status == "watching" {
                break;
            }
            assert!(begun.elapsed() < LIMIT, "after `{line}`: {spec:?}");
        }
        let claimed = begun.elapsed();
        if let Some(difference) = difference(&sandbox.local(), &remote) {
            untrue.push(format!("{claimed:?} after `{line}`: {difference}"));
        }
        println!("{container}: `watching` {claimed:?} after `{line}`");
    }
    assert!(untrue.is_empty(), "{} of {} claims were false: {untrue:#?}", untrue.len(), LINES.len());
    sandbox.equal(&container, CODE).expect("equal trees");
}

/// With nothing under way, each question is answered, and soon.
fn at_rest(sandbox: &Sandbox, container: &Container) {
    let mut times = Vec::new();
    for _ in 0..25 {
        let begun = Instant::now();
        let spec = sandbox.ksync.spec("main").expect("the spec");
        times.push(begun.elapsed());
        assert_eq!(spec.status, "watching", "{spec:?}");
    }
    let [median, longest] = median_and_longest(times);
    println!("{container}: `get` at rest: median {median:?}, max {longest:?}");
}

fn there(sandbox: &Sandbox) {
    written(sandbox, |container, line| {
        container.sh(sandbox.cluster(), &format!("cd {CODE} && {{ {line}; }}"));
    });
}

fn here(sandbox: &Sandbox) {
    written(sandbox, |_, line| {
        let status = Command::new("sh").args(["-e", "-c", line]).current_dir(sandbox.local()).status();
        assert!(status.expect("run sh").success(), "{line}");
    });
}
