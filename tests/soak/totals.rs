//! What came of all rounds, and the verdict on the run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use ksync_judge::{Kind, Plan, Violation, figures};

use crate::round::{HEALED, Outcome};

/// A run with fewer rounds shows nothing.
const ROUNDS: usize = 20;
/// Nearly all of them are equal so soon.
const SOON: Duration = Duration::from_secs(5);

#[derive(Default)]
struct OfFault {
    nodes: BTreeSet<String>,
    rounds: usize,
    clean: usize,
    kinds: BTreeMap<Kind, usize>,
}

#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) rounds: usize,
    clean: usize,
    deeds: usize,
    refused: u64,
    pub(crate) checks: u64,
    pub(crate) healings: u64,
    /// Files that went through the two syncthings.
    pub(crate) spooled: usize,
    times: Vec<Duration>,
    faults: BTreeMap<String, OfFault>,
    /// What was wrong besides.
    pub(crate) others: Vec<String>,
}

impl Totals {
    /// Adds a round with such faults.
    pub(crate) fn add(&mut self, faults: &str, outcome: &Outcome) {
        self.rounds += 1;
        self.deeds += outcome.deeds;
        self.refused += outcome.refused;
        self.times.extend(outcome.healed);
        let clean = outcome.violations.is_empty();
        self.clean += usize::from(clean);
        let of_fault = self.faults.entry(faults.to_owned()).or_default();
        of_fault.rounds += 1;
        of_fault.nodes.extend(outcome.nodes.iter().cloned());
        of_fault.clean += usize::from(clean);
        let mut kinds: Vec<Kind> =
            outcome.violations.iter().map(|violation: &Violation| violation.kind).collect();
        kinds.sort();
        kinds.dedup();
        for kind in kinds {
            *of_fault.kinds.entry(kind).or_default() += 1;
        }
    }

    /// The report's end, and whether the run was good.
    pub(crate) fn verdict(&self, plan: &Plan, short: bool) -> (String, bool) {
        let mut text =
            String::from("faults: rounds, clean, on how many nodes, and in how many rounds what was wrong\n");
        for (name, of_fault) in &self.faults {
            let kinds: Vec<String> =
                of_fault.kinds.iter().map(|(kind, rounds)| format!("{} {rounds}", kind.word())).collect();
            let OfFault { nodes, rounds, clean, .. } = of_fault;
            let _ =
                writeln!(text, "  {name:48} {rounds:3} {clean:3} {:3}  {}", nodes.len(), kinds.join(", "));
        }
        let (fired, pairs) = plan.covered();
        let mut wrong = self.others.clone();
        let _ = writeln!(
            text,
            "rounds {}, clean {}; faults {fired}, pairs {pairs}; deeds {} (and {} that found other files than they \
             sought); comparisons {}; healings {}; \
             large files through syncthing {}",
            self.rounds, self.clean, self.deeds, self.refused, self.checks, self.healings, self.spooled
        );
        if let Some([p50, p95, max]) = figures(&self.times) {
            let seconds = |time: Duration| time.as_secs_f64();
            let _ = writeln!(
                text,
                "equal after everything answered: p50 {:.1} s, p95 {:.1} s, max {:.1} s ({} rounds)",
                seconds(p50),
                seconds(p95),
                seconds(max),
                self.times.len()
            );
            // Of a few rounds, the slowest one is the p95.
            if !short && p95 > SOON {
                wrong.push(format!("p95 of the times is {:.1} s, more than {SOON:?}", seconds(p95)));
            }
            if max > HEALED {
                wrong.push(format!("the longest time is {:.1} s, more than {HEALED:?}", seconds(max)));
            }
        }
        if self.clean < self.rounds {
            wrong.push(format!("{} of {} rounds were not clean", self.rounds - self.clean, self.rounds));
        }
        let unfired = plan.unfired();
        if !short && !unfired.is_empty() {
            wrong.push(format!("faults that never struck: {}", unfired.join(", ")));
        }
        if !short && self.rounds < ROUNDS {
            wrong.push(format!("{} rounds, fewer than {ROUNDS}", self.rounds));
        }
        if self.rounds == 0 {
            wrong.push("no round came to its end".to_owned());
        }
        for said in &wrong {
            let _ = writeln!(text, "error: {said}");
        }
        (text, wrong.is_empty())
    }
}
