//! Looking at a file from outside, in a thread of its own, at least once a millisecond.

use std::{
    fmt, fs,
    path::PathBuf,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::suite::container::Container;

const PAUSE: Duration = Duration::from_micros(500);
/// The observer is to look more often than this.
const OFTEN: Duration = Duration::from_millis(1);

static LOOKS: AtomicU64 = AtomicU64::new(0);
static LATE: AtomicU64 = AtomicU64::new(0);

/// How often it looked, in this run.
pub(crate) fn said() -> String {
    let (looks, late) = (LOOKS.load(Ordering::Relaxed), LATE.load(Ordering::Relaxed));
    format!("{looks} looks, {late} of them more than 1 ms after the one before")
}

/// A path inside a container, seen from here.
pub(crate) fn inside(bench: &crate::bench::Bench, container: &Container, path: &str) -> PathBuf {
    let pid = container.pid(&*bench.run.cluster).unwrap_or_else(|said| panic!("{said}"));
    PathBuf::from(format!("/proc/{pid}/root{path}"))
}

/// From just before `act` until `look` says yes. The observer looks before `act` begins, and while it runs.
#[track_caller]
pub(crate) fn until(
    what: impl fmt::Display,
    limit: Duration,
    mut look: impl FnMut() -> bool + Send,
    act: impl FnOnce(),
) -> Duration {
    thread::scope(|scope| {
        let (ready_tx, ready) = mpsc::channel();
        let observer = scope.spawn(move || {
            assert!(!look(), "it is there before anything was done");
            let begun = Instant::now();
            let _ = ready_tx.send(());
            let mut last = begun;
            loop {
                let found = look();
                let now = Instant::now();
                LOOKS.fetch_add(1, Ordering::Relaxed);
                if now - last > OFTEN {
                    LATE.fetch_add(1, Ordering::Relaxed);
                }
                last = now;
                if found {
                    return Some(now);
                }
                if now - begun > limit {
                    return None;
                }
                thread::sleep(PAUSE);
            }
        });
        // Where the observer has failed, joining it says so.
        let _ = ready.recv();
        let begun = Instant::now();
        act();
        let seen = observer.join().unwrap_or_else(|why| std::panic::resume_unwind(why));
        seen.map_or_else(|| panic!("waited {limit:?} for {what}"), |seen| seen - begun)
    })
}

/// Looks for many files in turn: each look goes on where the last one found none. For files that come whole, by rename.
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    size: u64,
    found: usize,
}

impl Files {
    pub(crate) fn new(paths: Vec<PathBuf>, size: u64) -> Self {
        Self { paths, size, found: 0 }
    }

    /// Whether all are there.
    pub(crate) fn all(&mut self) -> bool {
        let there = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|meta| meta.len() == self.size);
        self.found += self.paths[self.found..].iter().take_while(|path| there(path)).count();
        self.found == self.paths.len()
    }
}

/// As the tables have it.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
