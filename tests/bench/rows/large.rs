//! Large trees: 100,000 small files, and gigabytes.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use ksync_measure::{Row, Unit};

use crate::{
    bed::{CODE, at_rest, runtime, sync_within},
    bench::Bench,
    files::{self, Many},
    observer::inside,
    suite::{App, Sandbox},
    usage::{self, Cost},
};

use super::{edit, idle};

const LIMIT: Duration = Duration::from_secs(1800);
/// The base of a large tree is written that long after an edit, at the latest.
const KEPT: Duration = Duration::from_secs(40);
/// What must stay free.
const MARGIN: u64 = 6_000_000_000;
const FILE: usize = 100_000_000;
/// The smallest of syncthing's blocks, in whole ones.
const BLOCK: usize = 128 << 10;

/// A `node_modules`: first sync, memory, an edit in it, and what it costs at rest.
pub(super) fn many(bench: &Bench, add: &mut dyn FnMut(Row)) {
    for node in &bench.run.nodes {
        let sandbox = bench.on(node, "many");
        Many::new(".", 100_000, 1000).write(&sandbox.local());
        sandbox.write("index.html", "from here\n");
        let container = App::idle(&sandbox).apply(&sandbox).only();
        first_sync(bench, &sandbox, &format!("100,000 files of 1 KB, {}", runtime(node)), add);
        at_rest(&sandbox, 1);
        let (here, there) =
            (sandbox.path("index.html"), inside(bench, &container, &format!("{CODE}/index.html")));
        let edits: Vec<f64> = (0..bench.options.trials(20)).map(|_| edit::paced(&here, &[&there])).collect();
        let name = format!("edit of 200 bytes beside 100,000 files, {}", runtime(node));
        add(Row::new(name, Unit::Milliseconds, &edits));
        thread::sleep(KEPT);
        idle::costs(bench, &sandbox, "1 container, 100,000 files", false).into_iter().for_each(&mut *add);
    }
}

/// Ten gigabytes, or a third of what the disk has room for.
pub(super) fn huge(bench: &Bench, add: &mut dyn FnMut(Row)) {
    for node in &bench.run.nodes {
        let sandbox = bench.on(node, "huge");
        let count = files_of(bench.options.gigabytes, &sandbox.local());
        let mut content = files::noise(FILE);
        for number in 0..count {
            // No block is like another one; new noise for each would take longer than the sync.
            for (at, block) in content.chunks_mut(BLOCK).enumerate() {
                block[..16].copy_from_slice(&[number.to_le_bytes(), at.to_le_bytes()].concat());
            }
            fs::write(sandbox.path(&format!("{number:03}.bin")), &content).expect("write");
        }
        App::idle(&sandbox).apply(&sandbox).only();
        let what = format!("a tree of {}.{} GB, {}", count / 10, count % 10, runtime(node));
        first_sync(bench, &sandbox, &what, add);
    }
}

/// How many files of 100 MB.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "gigabytes"
)]
fn files_of(gigabytes: f64, dir: &Path) -> usize {
    let disk = rustix::fs::statvfs(dir).expect("the disk's figures");
    // Here, there, and once more on the way.
    let room = (disk.f_bavail * disk.f_frsize).saturating_sub(MARGIN) / 3;
    ((gigabytes * 1e9).min(room as f64) / FILE as f64) as usize
}

/// From `create` until it is proved equal, and the most memory that any of the programs had meanwhile.
fn first_sync(bench: &Bench, sandbox: &Sandbox, what: &str, add: &mut dyn FnMut(Row)) {
    sandbox.ksync.ok(&["watch", "--daemon"]);
    let over = AtomicBool::new(false);
    let (took, peaks) = thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let costs = usage::all(bench, sandbox);
            let mut peaks = vec![0.0_f64; costs.len()];
            while !over.load(Ordering::SeqCst) {
                for (peak, cost) in peaks.iter_mut().zip(&costs) {
                    *peak = peak.max(cost.resident());
                }
                thread::sleep(Duration::from_millis(100));
            }
            (costs, peaks)
        });
        let begun = Instant::now();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sync_within(sandbox, LIMIT)));
        let took = begun.elapsed();
        over.store(true, Ordering::SeqCst);
        let peaks = watched.join().unwrap_or_else(|why| std::panic::resume_unwind(why));
        done.unwrap_or_else(|why| std::panic::resume_unwind(why));
        (took, peaks)
    });
    add(Row::new(format!("first sync, {what}"), Unit::Seconds, &[took.as_secs_f64()])
        .note("until it is watched, looked at every half second"));
    let (costs, peaks): (Vec<Cost>, Vec<f64>) = peaks;
    let name = |process: &str| format!("most resident memory, first sync, {what}: {process}");
    usage::rows(&costs, &peaks, Unit::Megabytes, name, |_| Some(150.0)).into_iter().for_each(add);
}
