//! 10,000 small files into an empty container, and by the ways that people use otherwise, on the same container.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ksync_measure::{Goal, Row, Unit};

use crate::{
    bed::{runtime, sync_into},
    bench::Bench,
    files::Many,
    observer::{Files, inside, until},
    suite::{App, Sandbox, container::Container, nodes::Node, shell},
};

const COUNT: usize = 10_000;
const SIZE: usize = 4096;
const LIMIT: Duration = Duration::from_secs(140);

/// Seconds.
#[derive(Default)]
struct Times {
    tar: Vec<f64>,
    cp: Vec<f64>,
    there: Vec<f64>,
    proved: Vec<f64>,
}

pub(super) fn measure(bench: &Bench, add: &mut dyn FnMut(Row)) {
    for node in &bench.run.nodes {
        let times = times(bench, node);
        let row = |what: &str, times: &[f64]| {
            let name = format!("10,000 files of 4 KB into an empty container, {what}, {}", runtime(node));
            Row::new(name, Unit::Seconds, times)
        };
        let tar = row("`tar c | kubectl exec -i -- tar x`", &times.tar);
        let goal = Goal::p50((tar.p50 * 200.0).round() / 100.0);
        let there = row("create until all are there", &times.there).goal(goal);
        let note = "the goal is twice that pipe in the same run; the watcher runs";
        add(there.note(note));
        add(row("create until proved equal and watched", &times.proved));
        add(tar);
        add(row("`kubectl cp`", &times.cp));
    }
}

fn times(bench: &Bench, node: &Node) -> Times {
    // Nothing is taken away before the end: see `Bench::retire`.
    let sandbox = bench.on(node, "initial");
    let many = Many::new(".", COUNT, SIZE);
    many.write(&sandbox.local());
    let app = App::idle(&sandbox).apply(&sandbox);
    sandbox.ksync.ok(&["watch", "--daemon"]);
    let mut times = Times::default();
    let container = app.only();
    for trial in 0..bench.options.trials(3) {
        let into = |what: &str| format!("/by-{what}-{trial}");
        times.tar.push(by_tar(bench, &sandbox, &container, &many, &into("tar")));
        times.cp.push(by_cp(bench, &sandbox, &container, &many, &into("cp")));
        let (there, proved) = by_ksync(bench, &sandbox, &container, &many, &into("ksync"));
        times.there.push(there);
        times.proved.push(proved);
        sandbox.ksync.ok(&["delete", "main"]);
    }
    bench.retire(sandbox);
    times
}

fn by_ksync(bench: &Bench, sandbox: &Sandbox, container: &Container, many: &Many, into: &str) -> (f64, f64) {
    let root = inside(bench, container, into);
    let mut there = Files::new(many.paths(&root), SIZE as u64);
    let begun = Instant::now();
    let mut proved = Duration::ZERO;
    let all = until(
        "10,000 files",
        LIMIT,
        move || there.all(),
        || {
            sync_into(sandbox, into);
            proved = begun.elapsed();
        },
    );
    many.are_in(&root);
    (all.as_secs_f64(), proved.as_secs_f64())
}

fn by_tar(bench: &Bench, sandbox: &Sandbox, container: &Container, many: &Many, into: &str) -> f64 {
    container.sh(sandbox.cluster(), &format!("mkdir {into}"));
    let kubectl = sandbox.kubectl();
    let (program, namespace, pod) = (kubectl.program.display(), &container.namespace, &container.pod);
    let line = format!(
        "set -e; tar c -C '{}' . | '{program}' exec -i -n {namespace} {pod} -- tar x -C {into}",
        sandbox.local().display()
    );
    let begun = Instant::now();
    let mut command = shell::command(Path::new("sh"));
    command.env("KUBECONFIG", &kubectl.kubeconfig).env("KUBECACHEDIR", &kubectl.cache).args(["-c", &line]);
    shell::run(&mut command, None).ok().unwrap_or_else(|said| panic!("tar: {said}"));
    let took = begun.elapsed();
    many.are_in(&inside(bench, container, into));
    took.as_secs_f64()
}

fn by_cp(bench: &Bench, sandbox: &Sandbox, container: &Container, many: &Many, into: &str) -> f64 {
    let target = format!("{}/{}:{into}", container.namespace, container.pod);
    let begun = Instant::now();
    sandbox.kubectl().ok(&["cp", &sandbox.local().display().to_string(), &target]);
    let took = begun.elapsed();
    many.are_in(&inside(bench, container, into));
    took.as_secs_f64()
}
