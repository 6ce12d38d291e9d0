//! How long something takes, looked at as often as a figure in milliseconds wants.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use super::{Sandbox, eventually::SHORT};

const PAUSE: Duration = Duration::from_micros(500);

/// From a write here to a read `there`, a path of this machine.
pub(crate) fn edit(sandbox: &Sandbox, name: &str, there: &str, content: &str) -> Duration {
    let begun = Instant::now();
    sandbox.write(name, content);
    while fs::read_to_string(there).ok().as_deref() != Some(content) {
        assert!(begun.elapsed() < SHORT, "an edit did not arrive in {there}");
        thread::sleep(PAUSE);
    }
    begun.elapsed()
}

/// The one in the middle, of any number but none, and the longest.
pub(crate) fn median_and_longest(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() - 1]]
}
