//! An edit here, until its content is there.

use std::{fs, path::Path, time::Duration};

use ksync_measure::{Goal, Row, Unit};
use serde::Deserialize;

use crate::{
    bed::{Bed, pause},
    bench::Bench,
    files,
    observer::{ms, until},
    suite::{Sandbox, eventually::SHORT},
};

const SIZE: usize = 200;

/// An edit of 200 bytes, by somebody who pauses after each.
pub(super) fn measure(bench: &Bench, bed: &Bed) -> Vec<Row> {
    let (here, there) = (bed.sandbox.path("index.html"), bed.there(bench, "index.html"));
    let mut edits: Vec<Edit> = Vec::new();
    let mut one = |_| {
        let took = paced(&here, &[&there]);
        // It is told when the container has it, so after the pause. One that was told already is an earlier edit's.
        edits.extend(told(&bed.sandbox).filter(|told| edits.last() != Some(told)));
        took
    };
    let times: Vec<f64> = (0..bench.options.trials(60)).map(&mut one).collect();
    let name = format!("edit of 200 bytes to its content in the container, {}", bed.runtime);
    let row = Row::new(name, Unit::Milliseconds, &times).goal(Goal::p50(8.0).p90(12.0));
    let mut rows = vec![row.note("an edit every second or so")];
    rows.extend(by_its_own_account(&edits, &bed.runtime));
    let by_cp: Vec<f64> = (0..bench.options.trials(5)).map(|_| copied(bench, bed)).collect();
    let name = format!("the same by `kubectl cp`, {}", bed.runtime);
    rows.push(Row::new(name, Unit::Milliseconds, &by_cp).note("into a directory that is not synced"));
    rows
}

/// An edit, as the plugin tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edit {
    at: String,
    /// Microseconds from when it was noticed until it was known to be there.
    settled_us: u64,
}

/// What `get` says of the last edit.
fn told(sandbox: &Sandbox) -> Option<Edit> {
    let text = sandbox.ksync.ok(&["get", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&text).expect("what `get` says");
    Deserialize::deserialize(&list["items"][0]["containers"][0]["lastEdit"]).expect("its last edit")
}

/// How long the plugin says that they took: to see where the time goes, not to be believed instead.
fn by_its_own_account(edits: &[Edit], runtime: &str) -> Option<Row> {
    let times: Vec<f64> = edits.iter().map(|edit| ms(Duration::from_micros(edit.settled_us))).collect();
    let name = format!("of an edit, by its own account: noticed to settled, {runtime}");
    (!times.is_empty()).then(|| Row::new(name, Unit::Milliseconds, &times).detail())
}

/// One edit of a local file until it is in all of these, in milliseconds.
pub(super) fn one(here: &Path, there: &[&Path]) -> f64 {
    let content = files::text(SIZE);
    let mut left = there.to_vec();
    let took = until(
        "an edit",
        SHORT,
        || {
            left.retain(|path| fs::read(path).ok().as_deref() != Some(&content));
            left.is_empty()
        },
        || fs::write(here, &content).expect("edit"),
    );
    ms(took)
}

/// The same with the pause after it.
pub(super) fn paced(here: &Path, there: &[&Path]) -> f64 {
    let took = one(here, there);
    pause();
    took
}

/// What people do without any tool.
fn copied(bench: &Bench, bed: &Bed) -> f64 {
    let (content, from) = (files::text(SIZE), bed.sandbox.scratch("by-cp.txt"));
    let there = crate::observer::inside(bench, &bed.container, "/tmp/by-cp.txt");
    let target = format!("{}/{}:/tmp/by-cp.txt", bed.container.namespace, bed.container.pod);
    fs::write(&from, &content).expect("write");
    let from = from.display().to_string();
    ms(until(
        "kubectl cp",
        SHORT,
        || fs::read(&there).ok().as_deref() == Some(&content),
        || drop(bed.sandbox.kubectl().ok(&["cp", &from, &target])),
    ))
}
