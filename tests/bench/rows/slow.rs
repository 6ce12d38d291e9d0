//! Edits over a slow link between here and the API server, and how often they cross it.

use ksync_measure::{Goal, Row, Unit};

use crate::{
    bed::{CODE, runtime, sync},
    bench::Bench,
    files,
    link::{Link, Quality},
    observer::{inside, ms, until},
    suite::{App, eventually::LONG, ksync::Ksync},
};

use super::edit;

const TRIP_MS: f64 = 50.0;
const SLOW: Quality = Quality { round_trip_ms: TRIP_MS, bits: Some(20_000_000.0) };
const OPEN: Quality = Quality { round_trip_ms: 0.0, bits: None };

pub(super) fn measure(bench: &Bench, add: &mut dyn FnMut(Row)) {
    for node in &bench.run.nodes {
        let mut sandbox = bench.on(node, "slow");
        let link = Link::before(&sandbox, OPEN);
        sandbox.ksync = Ksync { kubeconfig: link.kubeconfig(&sandbox), ..sandbox.ksync.clone() };
        sandbox.write("index.html", "from here\n");
        let container = App::idle(&sandbox).apply(&sandbox).only();
        sync(&sandbox);
        let (here, there) =
            (sandbox.path("index.html"), inside(bench, &container, &format!("{CODE}/index.html")));
        let times =
            |count: usize| -> Vec<f64> { (0..count).map(|_| edit::paced(&here, &[&there])).collect() };
        let fast = Row::new("", Unit::Milliseconds, &times(bench.options.trials(15))).p50;
        link.set(SLOW);
        let slow = times(bench.options.trials(25));
        let trips: Vec<f64> = slow.iter().map(|time| ((time - fast) / TRIP_MS).max(0.0)).collect();
        let link_said = "50 ms round trip, 20 Mbit/s";
        let name = |what: &str| format!("{what}, {link_said}, {}", runtime(node));
        add(Row::new(name("edit of 200 bytes"), Unit::Milliseconds, &slow));
        let note = format!(
            "what the edit takes longer than over the same link without its delay ({fast:.1} ms), \
                            by the round trip"
        );
        add(Row::new(name("round trips of an edit"), Unit::Count, &trips).goal(Goal::p50(2.0)).note(note));

        let texts: Vec<f64> = (0..bench.options.trials(4))
            .map(|_| {
                let content = files::text(1_000_000);
                let there = there.with_file_name("text.txt");
                let write = || std::fs::write(sandbox.path("text.txt"), &content).expect("write");
                let look = || std::fs::read(&there).ok().as_deref() == Some(&content);
                let took = ms(until("a text", LONG, look, write));
                crate::bed::pause();
                took
            })
            .collect();
        let note = "hexadecimal digits, which compress to half; uncompressed the link alone needs 400 ms";
        add(Row::new(name("new text of 1 MB"), Unit::Milliseconds, &texts).note(note));
    }
}
