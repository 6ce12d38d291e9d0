//! An edit here, until its content is there.

use std::{fs, path::Path};

use ksync_measure::{Goal, Row, Unit};

use crate::{
    bed::{Bed, pause},
    bench::Bench,
    files,
    observer::{ms, until},
    suite::eventually::SHORT,
};

const SIZE: usize = 200;

/// An edit of 200 bytes, by somebody who pauses after each.
pub(super) fn measure(bench: &Bench, bed: &Bed) -> Vec<Row> {
    let (here, there) = (bed.desk.path("index.html"), bed.there(bench, "index.html"));
    let times: Vec<f64> = (0..bench.options.trials(60)).map(|_| one(&here, &[&there])).collect();
    let name = format!("edit of 200 bytes to its content in the container, {}", bed.runtime);
    let row = Row::new(name, Unit::Milliseconds, &times).goal(Goal::p50(8.0).p90(12.0));
    let row = row.note("an edit every 0.5 to 0.75 s");
    let by_cp: Vec<f64> = (0..bench.options.trials(5)).map(|_| copied(bench, bed)).collect();
    let name = format!("the same by `kubectl cp`, {}", bed.runtime);
    vec![row, Row::new(name, Unit::Milliseconds, &by_cp).note("into a directory that is not synced")]
}

/// One edit of a local file until it is in all of these, in milliseconds; after it, the pause.
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
    pause();
    ms(took)
}

/// What people do without any tool.
fn copied(bench: &Bench, bed: &Bed) -> f64 {
    let (content, from) = (files::text(SIZE), bed.desk.scratch("by-cp.txt"));
    let there = crate::observer::inside(bench, &bed.container, "/tmp/by-cp.txt");
    let target = format!("{}/{}:/tmp/by-cp.txt", bed.container.namespace, bed.container.pod);
    fs::write(&from, &content).expect("write");
    let from = from.display().to_string();
    ms(until(
        "kubectl cp",
        SHORT,
        || fs::read(&there).ok().as_deref() == Some(&content),
        || drop(bed.desk.kubectl().ok(&["cp", &from, &target])),
    ))
}
