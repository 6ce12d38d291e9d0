//! How long what has failed rests before it is tried again.
//!
//! Invariant: what fails again and again for the same reason is tried less and less often, and at once when something has
//! changed that may have been the reason.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// At first.
const FIRST: Duration = Duration::from_secs(2);
/// At most.
const LONGEST: Duration = Duration::from_secs(60);
/// So often it is tried before it rests longer.
const SOON: u32 = 3;

#[derive(Debug)]
struct Rest {
    reason: String,
    times: u32,
    until: Instant,
}

/// What has failed, by path.
#[derive(Debug, Default)]
pub(crate) struct Rests(BTreeMap<String, Rest>);

impl Rests {
    /// A path has failed `now`, for this reason.
    pub(crate) fn failed(&mut self, path: &str, reason: &str, now: Instant) {
        let before = self.0.remove(path).filter(|rest| rest.reason == reason);
        let times = before.map_or(0, |rest| rest.times).saturating_add(1);
        let rest = FIRST.saturating_mul(1 << times.saturating_sub(SOON).min(10)).min(LONGEST);
        self.0.insert(path.to_owned(), Rest { reason: reason.to_owned(), times, until: now + rest });
    }

    /// A path has not failed.
    pub(crate) fn went_well(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// There may be more room, or other permissions.
    pub(crate) fn eased(&mut self) {
        self.0.clear();
    }

    /// Whether a path that has failed is to be tried again.
    pub(crate) fn is_due(&self, path: &str, now: Instant) -> bool {
        self.0.get(path).is_none_or(|rest| rest.until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_longer_each_time_until_something_changes() {
        let (mut rests, begun) = (Rests::default(), Instant::now());
        let mut waits = Vec::new();
        let mut now = begun;
        for _ in 0..10 {
            rests.failed("f", "may not", now);
            let failed = now;
            while !rests.is_due("f", now) {
                now += Duration::from_secs(1);
            }
            waits.push((now - failed).as_secs());
        }
        assert_eq!(waits, [2, 2, 2, 4, 8, 16, 32, 60, 60, 60]);
        rests.failed("f", "no room", now);
        assert!(rests.is_due("f", now + FIRST) && !rests.is_due("f", now), "another reason");
        rests.failed("f", "no room", now);
        rests.eased();
        assert!(rests.is_due("f", now) && rests.is_due("g", now));
        rests.failed("f", "no room", now);
        rests.went_well("f");
        assert!(rests.is_due("f", now));
    }
}
