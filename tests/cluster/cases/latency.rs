//! From the write here to the read there, on each node.

use std::time::Duration;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Need, Sandbox,
    eventually::SHORT,
    stopwatch::{edit, median_and_longest},
};

pub(super) const CASES: &[Case] =
    &[Case::new("an_edit_is_there_at_once", edits).alone().needs(&[Need::Processes])];

const ROUNDS: u32 = 15;
/// Between two edits: syncthing lets index updates follow each other a quarter of a second apart.
const REST: Duration = Duration::from_millis(400);
/// No fixed delay anywhere in the path: this is what the issue asks of this machine.
const MEDIAN: Duration = Duration::from_millis(100);

fn edits(sandbox: &Sandbox) {
    sandbox.write("index.html", "from here\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    for container in &containers {
        let pid = container.pid(sandbox.cluster()).expect("its process");
        let there = format!("/proc/{pid}/root{CODE}/index.html");
        let mut times: Vec<Duration> = Vec::new();
        for round in 0..ROUNDS {
            let content = format!("edit {round} for {container}\n");
            times.push(edit(sandbox, "index.html", &there, &content));
            // The next edit finds everything at rest, as a person's would.
            sandbox.watching(&containers, SHORT);
            std::thread::sleep(REST);
        }
        let [median, longest] = median_and_longest(times.clone());
        println!("{container}: median {median:?}, max {longest:?}");
        assert!(median < MEDIAN, "{container}: median {median:?} of {times:?}");
    }
}
