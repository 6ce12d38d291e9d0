//! The container writes a file, until its content is here.

use std::fs;

use ksync_measure::{Goal, Row, Unit};

use crate::{
    bed::{Bed, pause},
    bench::Bench,
    files,
    observer::{ms, until},
    suite::eventually::SHORT,
};

/// The file is written through /proc, which is the container's own view of it, without the price of an exec.
pub(super) fn measure(bench: &Bench, bed: &Bed) -> Vec<Row> {
    let (here, there) = (bed.sandbox.path("back.txt"), bed.there(bench, "back.txt"));
    let one = || {
        let content = files::text(200);
        let took = until(
            "what the container wrote",
            SHORT,
            || fs::read(&here).ok().as_deref() == Some(&content),
            || fs::write(&there, &content).expect("write in the container"),
        );
        pause();
        ms(took)
    };
    let times: Vec<f64> = (0..bench.options.trials(60)).map(|_| one()).collect();
    let name = format!("the container writes 200 bytes, until they are here, {}", bed.runtime);
    vec![Row::new(name, Unit::Milliseconds, &times).goal(Goal::p50(20.0).p90(60.0))]
}
