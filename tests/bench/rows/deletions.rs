//! An edit here while the container deletes a directory of 1,000 files.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use ksync_measure::{Row, Unit};

use super::edit;
use crate::{
    bed::{Bed, at_rest},
    bench::Bench,
    files::Many,
    observer::{Files, until},
    suite::eventually::LONG,
};

const COUNT: usize = 1000;
/// One directory, made again for each trial: what is here again does not count as deleted.
const GOING: &str = "going";
/// With these, what is deleted is less than half, which nobody is asked about.
const STAYING: usize = 1200;
const SIZE: usize = 4096;
const BETWEEN: Duration = Duration::from_millis(50);

/// On each node.
pub(super) fn measure(bench: &Bench, add: &mut dyn FnMut(Row)) {
    for node in &bench.run.nodes {
        let bed = Bed::new(bench, node);
        for row in on(bench, &bed) {
            add(row);
        }
        bench.retire(bed.sandbox);
    }
}

/// Edits one after another from the deletion's begin until the directory is gone here, too.
fn on(bench: &Bench, bed: &Bed) -> [Row; 2] {
    let root = bed.there(bench, "");
    come(bed, &root, &Many::new("staying", STAYING, SIZE));
    let (mut edits, mut deletions) = (Vec::new(), Vec::new());
    let (here, there) = (bed.sandbox.path(GOING), root.join(GOING));
    for _ in 0..bench.options.trials(5) {
        come(bed, &root, &Many::new(GOING, COUNT, SIZE));
        let took = until(
            "the deletion",
            LONG,
            || !here.exists(),
            || {
                thread::scope(|scope| {
                    let deleting = scope.spawn(|| fs::remove_dir_all(&there));
                    let begun = Instant::now();
                    while here.exists() && begun.elapsed() < LONG {
                        edits.push(edit::one(&bed.sandbox.path("index.html"), &[&root.join("index.html")]));
                        thread::sleep(BETWEEN);
                    }
                    let deleted = deleting.join().unwrap_or_else(|why| std::panic::resume_unwind(why));
                    deleted.expect("delete in the container");
                });
            },
        );
        deletions.push(took.as_secs_f64());
        at_rest(&bed.sandbox, 1);
    }
    let name = format!("edit of 200 bytes while the container deletes 1,000 files, {}", bed.runtime);
    let of_edits = Row::new(name, Unit::Milliseconds, &edits).note("one edit every 50 ms or so");
    let name =
        format!("the container deletes a directory of 1,000 files, until it is gone here, {}", bed.runtime);
    [of_edits, Row::new(name, Unit::Seconds, &deletions).note("with these edits beside it")]
}

/// Both sides hold these files.
fn come(bed: &Bed, root: &Path, many: &Many) {
    let mut there = Files::new(many.paths(root), many.size());
    until("new files", LONG, move || there.all(), || many.write(&bed.sandbox.local()));
    at_rest(&bed.sandbox, 1);
}
