//! One, ten and sixty pods of a Deployment over all nodes: an edit until all have it, a checkout of 500 files, and what
//! it all costs with 10,000 files.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ksync_measure::{Goal, Row, Unit};

use crate::{
    bed::{CODE, at_rest, sync, watching_slowly},
    bench::Bench,
    files::Many,
    observer::{Files, inside, until},
    suite::{App, Sandbox, container::Container, eventually::LONG, shell},
};

use super::{edit, idle};

/// With so many the goals must be met.
const GOAL_AT: usize = 60;
const CHECKED_OUT: usize = 500;
/// Many pods start slowly on a small machine.
pub(super) const START: Duration = Duration::from_secs(600);

pub(super) fn measure(bench: &Bench, add: &mut dyn FnMut(Row)) {
    let sandbox = bench.on_all("pods");
    Many::new("tree", 10_000, 4096).write(&sandbox.local());
    sandbox.write("index.html", "from here\n");
    let repository = Repository::of(&sandbox);
    let app = App::idle(&sandbox).apply(&sandbox);
    sync(&sandbox);
    for count in bench.options.pods.iter().copied() {
        let containers = app.scale_within(count, START);
        watching_slowly(&sandbox, count, START);
        at_rest(&sandbox, count);
        let paths = |name: &str| -> Vec<PathBuf> {
            containers.iter().map(|container| inside(bench, container, &format!("{CODE}/{name}"))).collect()
        };
        let there = paths("index.html");
        let there: Vec<&Path> = there.iter().map(PathBuf::as_path).collect();
        let here = sandbox.path("index.html");
        let edits: Vec<f64> = (0..bench.options.trials(20)).map(|_| edit::paced(&here, &there)).collect();
        let goal = |row: Row, limit: f64| if count == GOAL_AT { row.goal(Goal::p50(limit)) } else { row };
        let row =
            Row::new(format!("edit of 200 bytes until {count} pods have it"), Unit::Milliseconds, &edits);
        add(goal(row, 300.0));
        let out: Vec<f64> = (0..bench.options.trials(4))
            .map(|trial| checkout(&sandbox, &repository, &paths(""), &containers, trial))
            .collect();
        let name = format!("`git checkout` of {CHECKED_OUT} files of 4 KB until {count} pods have them");
        add(goal(Row::new(name, Unit::Seconds, &out), 5.0));
        idle::costs(bench, &sandbox, &format!("{count} pods, 10,000 files"), true)
            .into_iter()
            .for_each(&mut *add);
    }
}

/// Two branches whose files are the same in number and name, and in nothing else.
struct Repository {
    branches: [Many; 2],
}

const BRANCHES: [&str; 2] = ["left", "right"];

impl Repository {
    fn of(sandbox: &Sandbox) -> Self {
        // Files of the two branches differ in size, so that a look tells them apart.
        let branches = [Many::new("checkout", CHECKED_OUT, 4096), Many::new("checkout", CHECKED_OUT, 4100)];
        git(sandbox, &["init", "--quiet"]);
        for (branch, many) in BRANCHES.iter().zip(&branches) {
            many.write(&sandbox.local());
            git(sandbox, &["checkout", "--quiet", "--orphan", branch]);
            git(sandbox, &["add", "checkout"]);
            let author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
            git(sandbox, &[&author[..], &["commit", "--quiet", "--message", branch]].concat());
        }
        Self { branches }
    }
}

fn git(sandbox: &Sandbox, args: &[&str]) {
    let mut command = shell::command(Path::new("git"));
    let command: &mut Command =
        command.current_dir(sandbox.local()).env("GIT_CONFIG_GLOBAL", "/dev/null").args(args);
    shell::run(command, None).ok().unwrap_or_else(|said| panic!("git {}: {said}", args.join(" ")));
}

/// The other branch, until the last of its files is in the last of the containers; in seconds.
fn checkout(
    sandbox: &Sandbox,
    repository: &Repository,
    roots: &[PathBuf],
    containers: &[Container],
    trial: usize,
) -> f64 {
    let (branch, many) = (BRANCHES[trial % 2], &repository.branches[trial % 2]);
    let paths = roots.iter().flat_map(|root| many.paths(root)).collect();
    let mut there = Files::new(paths, many.size());
    let what = format!("{CHECKED_OUT} files in {} containers", containers.len());
    let took = until(what, LONG * 2, move || there.all(), || git(sandbox, &["checkout", "--quiet", branch]));
    for root in roots {
        many.are_in(root);
    }
    at_rest(sandbox, containers.len());
    took.as_secs_f64()
}
