//! Waiting for a condition, with a limit and a word about what was waited for. The only place that sleeps.

use std::{
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(20);

/// Long enough for anything that involves kubelet.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Long enough for a change to arrive on a busy machine.
pub(crate) const SHORT: Duration = Duration::from_secs(20);

/// Looks until there is a result; panics at the limit with the last thing seen.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if begun.elapsed() > limit => panic!("waited {limit:?} for {what}; last seen: {seen}"),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Looks for all of `time`; panics at the first look that fails. For what must not happen.
#[track_caller]
pub(crate) fn throughout(what: &str, time: Duration, look: impl FnMut() -> Result<(), String>) {
    now_and_then(what, time, PAUSE, look);
}

/// The same, looked at rarely: a long time is not to keep the machine busy.
#[track_caller]
pub(crate) fn now_and_then(
    what: &str,
    time: Duration,
    pause: Duration,
    mut look: impl FnMut() -> Result<(), String>,
) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        if let Err(seen) = look() {
            panic!("{what} did not hold, after {:?}: {seen}", begun.elapsed());
        }
        thread::sleep(pause);
    }
}

/// `Ok` when it holds, else what was seen: for the closures above.
pub(crate) fn holds(condition: bool, seen: impl Into<String>) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen.into()) }
}
