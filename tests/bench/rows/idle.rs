//! What it costs when nothing happens: a tree of 10,000 files, a container on each node.

use std::{thread, time::Duration};

use ksync_measure::{Row, Unit};

use crate::{
    bed::{at_rest, sync},
    bench::Bench,
    files::Many,
    suite::{App, Sandbox},
    usage::{self, Cost},
};

/// What is still tidied up after the first sync is not what is meant.
const CALM: Duration = Duration::from_secs(10);
const WHILE: Duration = Duration::from_secs(20);

pub(super) fn measure(bench: &Bench, add: &mut dyn FnMut(Row)) {
    let sandbox = bench.on_all("idle");
    Many::new(".", 10_000, 4096).write(&sandbox.local());
    let count = App::idle(&sandbox).everywhere().apply(&sandbox).all().len();
    sync(&sandbox);
    at_rest(&sandbox, count);
    costs(bench, &sandbox, &format!("{count} containers, 10,000 files"), true).into_iter().for_each(add);
}

/// Of a sandbox at rest, with so many containers and files; whether these are those that the goals for memory are for.
pub(super) fn costs(bench: &Bench, sandbox: &Sandbox, many: &str, goals: bool) -> Vec<Row> {
    thread::sleep(CALM);
    let all = usage::all(bench, sandbox);
    let share = usage::over(&all, WHILE);
    let name = |kind: &'static str| move |what: &str| format!("{kind}, {many}: {what}");
    let mut rows = usage::rows(&all, &share, Unit::Percent, name("idle, of one core"), |_| Some(1.0));
    let resident: Vec<f64> = all.iter().map(Cost::resident).collect();
    let limit = |what: &str| match what {
        "watcher" if goals => Some(40.0),
        _ if goals && what.starts_with("radar") => Some(30.0),
        _ => None,
    };
    rows.extend(usage::rows(&all, &resident, Unit::Megabytes, name("resident memory"), limit));
    rows
}
