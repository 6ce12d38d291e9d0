//! Much at once: thousands of small files, one large one.

use std::{fs, time::Duration};

use ksync_measure::{Goal, Row, Unit};

use crate::{
    bed::{Bed, at_rest},
    bench::Bench,
    files::{self, Many},
    observer::{Files, until},
    suite::eventually::LONG,
};

const SIZE: usize = 4096;
const BIG: usize = 200_000_000;
const LIMIT: Duration = Duration::from_secs(90);

/// 2,000 and 500 new files of 4 KB.
pub(super) fn measure(bench: &Bench, bed: &Bed) -> Vec<Row> {
    let row = |count: usize, trials: usize| {
        let times = (0..bench.options.trials(trials)).map(|trial| burst(bench, bed, count, trial));
        let times: Vec<f64> = times.collect();
        Row::new(format!("{count} new files of 4 KB at once, {}", bed.runtime), Unit::Seconds, &times)
    };
    vec![row(2000, 3).goal(Goal::p50(1.8)), row(500, 5)]
}

/// From before the first is written until the last is there, in seconds. They stay: see [`Bench::retire`].
fn burst(bench: &Bench, bed: &Bed, count: usize, trial: usize) -> f64 {
    let many = Many::new(&format!("burst-{count}-{trial}"), count, SIZE);
    let root = bed.there(bench, "");
    let mut there = Files::new(many.paths(&root), SIZE as u64);
    at_rest(&bed.sandbox, 1);
    let what = format!("{count} files");
    let took = until(what, LIMIT, move || there.all(), || many.write(&bed.sandbox.local()));
    many.are_in(&root);
    at_rest(&bed.sandbox, 1);
    took.as_secs_f64()
}

/// A directory of 1,000 files gets another name, to and fro.
pub(super) fn moved(bench: &Bench, bed: &Bed) -> Vec<Row> {
    const COUNT: usize = 1000;
    let many = Many::new("moved", COUNT, SIZE);
    let names = ["moved", "moved-on"];
    let root = bed.there(bench, "");
    let there = |name: &str| {
        let paths = many.names.iter().map(|path| root.join(path.replacen("moved", name, 1)));
        Files::new(paths.collect(), SIZE as u64)
    };
    let mut files = there(names[0]);
    let came = until("1,000 files", LIMIT, move || files.all(), || many.write(&bed.sandbox.local()));
    let rename = |trial: usize| {
        let (from, to) = (names[trial % 2], names[(trial + 1) % 2]);
        let (mut files, gone) = (there(to), root.join(from));
        at_rest(&bed.sandbox, 1);
        let act = || fs::rename(bed.sandbox.path(from), bed.sandbox.path(to)).expect("rename");
        let took = until("a renamed directory", LIMIT, move || files.all() && !gone.exists(), act);
        took.as_secs_f64()
    };
    let times: Vec<f64> = (0..bench.options.trials(5)).map(rename).collect();
    let name = format!("rename of a directory of 1,000 files of 4 KB, {}", bed.runtime);
    let note = format!("the same files took {:.2} s when they were new", came.as_secs_f64());
    vec![Row::new(name, Unit::Seconds, &times).note(&note)]
}

/// One new file of 200 MB.
pub(super) fn big(bench: &Bench, bed: &Bed) -> Vec<Row> {
    let one = || {
        let content = files::noise(BIG);
        let there = bed.there(bench, "big.bin");
        let mut look = Files::new(vec![there.clone()], BIG as u64);
        at_rest(&bed.sandbox, 1);
        let write = || fs::write(bed.sandbox.path("big.bin"), &content).expect("write");
        let took = until("a large file", LONG, move || look.all(), write);
        assert!(fs::read(there).expect("read") == content, "the large file arrived with another content");
        at_rest(&bed.sandbox, 1);
        bed.remove(bench, "big.bin");
        took.as_secs_f64()
    };
    let times: Vec<f64> = (0..bench.options.trials(3)).map(|_| one()).collect();
    let row = Row::new(format!("one new file of 200 MB, {}", bed.runtime), Unit::Seconds, &times);
    vec![row.goal(Goal::p50(2.5)).note("random bytes; the time to write it here is part of it")]
}
