//! Changes that the audit was the first to find: each is missed when no hint covers it in time.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ksync_tree::covers;

/// How late the hint of a change may be: events wait for a processor, and for whoever is slow to hear of earlier ones.
pub(crate) const LATE: Duration = Duration::from_secs(10);
/// Of more than this nobody keeps an account.
const MOST: usize = 10_000;

/// Paths, each with when it was found.
#[derive(Debug, Default)]
pub(crate) struct Suspects(BTreeMap<Arc<str>, Instant>);

impl Suspects {
    /// The audit has found a change.
    pub(crate) fn found(&mut self, path: &Arc<str>, now: Instant) {
        if self.0.len() < MOST {
            self.0.entry(Arc::clone(path)).or_insert(now);
        }
    }

    /// A hint has come: what is in a directory goes and comes with it. That of the empty path is one of everything.
    pub(crate) fn hinted(&mut self, path: &str) {
        self.0.retain(|suspect, _| !path.is_empty() && !covers(path, suspect));
    }

    /// How many are missed by now; they are counted once.
    pub(crate) fn missed(&mut self, now: Instant) -> u64 {
        let before = self.0.len();
        self.0.retain(|_, found| now.saturating_duration_since(*found) < LATE);
        (before - self.0.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_hint_covers_in_time_is_missed_once() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        for path in ["a", "d/b", "d/c", "e"] {
            suspects.found(&Arc::from(path), now);
        }
        suspects.hinted("a");
        suspects.hinted("d");
        assert_eq!(suspects.missed(now), 0);
        suspects.found(&Arc::from("e"), now + LATE);
        assert_eq!((suspects.missed(now + LATE), suspects.missed(now + LATE)), (1, 0));
        suspects.found(&Arc::from("e"), now);
        suspects.hinted("");
        assert_eq!(suspects.missed(now + LATE), 0);
    }
}
