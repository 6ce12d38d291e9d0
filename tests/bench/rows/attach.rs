//! A pod is replaced: from when it is ready until it has the first file. And many containers at once.

use std::{
    fs,
    time::{Instant, SystemTime},
};

use ksync_measure::{Goal, Row, Unit};

use super::pods::START;
use crate::{
    bed::{CODE, pause, runtime, sync},
    bench::Bench,
    observer::inside,
    ready::Ready,
    suite::{App, container::Container, eventually::LONG, nodes::Node},
};

const FILES: usize = 5;
/// As many containers of one spec, over all nodes: of each, a proof and an attach.
const MANY: usize = 50;

/// Containers that run already, each with a proof to come, from `create` until it says that each has the files.
pub(super) fn many(bench: &Bench, add: &mut dyn FnMut(Row)) {
    let sandbox = bench.on_all("attach-many");
    let write = |trial: usize| {
        (0..FILES).for_each(|number| sandbox.write(&format!("{number}.txt"), format!("{trial} {number}\n")));
    };
    write(0);
    App::idle(&sandbox).apply(&sandbox).scale_within(MANY, START);
    sync(&sandbox);
    let mut one = |trial: usize| {
        sandbox.ksync.ok(&["delete", "main"]);
        // A proof is good for ten minutes of one session.
        sandbox.ksync.ok(&["stop"]);
        sandbox.ksync.ok(&["watch", "--daemon"]);
        write(trial + 1);
        pause();
        let begun = Instant::now();
        sync(&sandbox);
        begun.elapsed().as_secs_f64()
    };
    let times: Vec<f64> = (0..bench.options.trials(6)).map(&mut one).collect();
    let row = Row::new(format!("attach: {MANY} containers at once, `create --wait`"), Unit::Seconds, &times);
    add(row.goal(Goal::p50(4.0)).note("over all nodes"));
}

pub(super) fn measure(bench: &Bench, add: &mut dyn FnMut(Row)) {
    for node in &bench.run.nodes {
        let times = replaced(bench, node);
        let name = format!("attach: pod ready to the first file in it, {}", runtime(node));
        let row = Row::new(name, Unit::Seconds, &times).goal(Goal::p50(0.3));
        add(row.note("ready as a second client of the API server learns it; the file by its time of birth"));
    }
}

fn replaced(bench: &Bench, node: &Node) -> Vec<f64> {
    let sandbox = bench.on(node, "attach");
    for number in 0..FILES {
        sandbox.write(&format!("{number}.txt"), format!("{number}\n"));
    }
    let app = App::idle(&sandbox).apply(&sandbox);
    let mut old = app.only();
    sync(&sandbox);
    let ready = Ready::follow(&sandbox);
    let mut one = |_| {
        pause();
        app.kill_pod(&old.pod);
        let new = app.only();
        let when = ready.of(&new);
        sandbox.ksync.watching_ids("main", &[&new.id], LONG);
        let first = first(bench, &new);
        old = new;
        // A container may run a moment before its pod is said to be ready.
        first.duration_since(when).unwrap_or_default().as_secs_f64()
    };
    (0..bench.options.trials(6)).map(&mut one).collect()
}

/// When the earliest of the files was made. Its time of change is a later one: syncthing sets times of what it finds.
fn first(bench: &Bench, container: &Container) -> SystemTime {
    let made = |number: usize| {
        let path = inside(bench, container, &format!("{CODE}/{number}.txt"));
        let meta = fs::metadata(&path).expect("a file in the container");
        meta.created().expect("a file system that keeps times of birth")
    };
    (0..FILES).map(made).min().expect("files")
}
