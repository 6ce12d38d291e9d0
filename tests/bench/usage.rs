//! What processes cost: time of the processor and resident memory, as the kernel counts them.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use ksync_measure::{Goal, Row, Unit};

use crate::{
    bed::runtime,
    bench::Bench,
    suite::{Sandbox, process},
};

/// The kernel's unit for the times in /proc, in seconds.
const TICK: f64 = 0.01;

/// Processes that are counted together.
#[derive(Debug, Clone)]
pub(crate) struct Cost {
    pub(crate) what: String,
    pids: Vec<u32>,
}

impl Cost {
    fn new(what: impl Into<String>, pids: Vec<u32>) -> Self {
        Self { what: what.into(), pids }
    }

    /// Megabytes.
    pub(crate) fn resident(&self) -> f64 {
        self.pids.iter().map(|pid| kilobytes(*pid, "VmRSS:")).sum::<f64>() / 1000.0
    }

    fn seconds(&self) -> f64 {
        self.pids.iter().map(|pid| ticks(*pid)).sum::<f64>() * TICK
    }
}

/// The watcher, its syncthing, and both programs of each node's agent.
pub(crate) fn all(bench: &Bench, sandbox: &Sandbox) -> Vec<Cost> {
    let watcher = sandbox.ksync.watcher().expect("the watcher's process");
    let of = |parent: u32| process::children(parent).iter().map(|child| child.pid).collect::<Vec<_>>();
    let mut costs = vec![Cost::new("watcher", vec![watcher]), Cost::new("syncthing here", of(watcher))];
    for container in sandbox.radars() {
        let pid = container.pid(sandbox.cluster()).expect("the agent's process");
        let node = bench.run.nodes.iter().find(|node| node.name == container.node);
        let runtime = node.map_or_else(|| container.node.clone(), runtime);
        if container.name == "radar" {
            costs.push(Cost::new(format!("radar, {runtime}"), vec![pid]));
        } else {
            let both = [vec![pid], of(pid)].concat();
            costs.push(Cost::new(format!("syncthing with its parent, {runtime}"), both));
        }
    }
    costs
}

/// Percent of one core that each takes over a while.
pub(crate) fn over(costs: &[Cost], time: Duration) -> Vec<f64> {
    let before: Vec<f64> = costs.iter().map(Cost::seconds).collect();
    let begun = Instant::now();
    thread::sleep(time);
    let elapsed = begun.elapsed().as_secs_f64();
    costs.iter().zip(before).map(|(cost, before)| (cost.seconds() - before) / elapsed * 100.0).collect()
}

/// A row for each, of figures that were taken once.
pub(crate) fn rows(
    costs: &[Cost],
    figures: &[f64],
    unit: Unit,
    name: impl Fn(&str) -> String,
    goal: impl Fn(&str) -> Option<f64>,
) -> Vec<Row> {
    let row = |(cost, figure): (&Cost, &f64)| {
        let row = Row::new(name(&cost.what), unit, &[*figure]);
        goal(&cost.what).map_or(row.clone(), |limit| row.goal(Goal::p50(limit)))
    };
    costs.iter().zip(figures).map(row).collect()
}

fn kilobytes(pid: u32, key: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process's status");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("a line of it");
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1.024
}

/// User and system time.
fn ticks(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process's figures");
    let (_, rest) = text.rsplit_once(')').expect("its name");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    [11, 12].iter().map(|at| fields[*at].parse::<f64>().expect("a number")).sum()
}
