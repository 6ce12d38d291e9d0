//! How much a container has added to the local directory lately: what it rewrites counts by how much it has grown. Pure.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// What came longer ago than this counts no more.
const WINDOW: Duration = Duration::from_secs(3600);
/// It is looked through so often.
const SWEEP: Duration = Duration::from_secs(60);

/// A file that came, in bytes.
#[derive(Debug)]
struct Came {
    at: Instant,
    before: u64,
    now: u64,
}

impl Came {
    fn growth(&self) -> u64 {
        self.now.saturating_sub(self.before)
    }
}

/// What came, by path.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    came: BTreeMap<Arc<str>, Came>,
    total: u64,
    /// When it was last looked through.
    swept: Option<Instant>,
}

impl Ledger {
    /// A file of `now` bytes comes in the place of one of `before` bytes; 0 where there is none.
    pub(crate) fn add(&mut self, path: &Arc<str>, [before, now]: [u64; 2], at: Instant) {
        let came = self.came.entry(Arc::clone(path)).or_insert(Came { at, before, now: before });
        let old = came.growth();
        came.now = now;
        self.total = (self.total - old).saturating_add(came.growth());
    }

    /// Somebody has left `now` bytes of a file here.
    pub(crate) fn changed(&mut self, path: &str, now: u64) {
        if let Some(came) = self.came.get_mut(path) {
            let old = came.growth();
            came.now = came.now.min(now);
            self.total = self.total - old + came.growth();
        }
    }

    /// Bytes that have been added.
    pub(crate) fn total(&mut self, now: Instant) -> u64 {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP) {
            return self.total;
        }
        self.swept = Some(now);
        let total = &mut self.total;
        self.came.retain(|_, came| {
            let counts = now.saturating_duration_since(came.at) < WINDOW;
            *total -= if counts { 0 } else { came.growth() };
            counts
        });
        *total
    }

    /// A person has agreed to it.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rewritten_counts_by_its_growth_and_for_an_hour() {
        let begin = Instant::now();
        let at = |minutes: u64| begin + Duration::from_secs(60 * minutes);
        let mut ledger = Ledger::default();
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        for size in [100, 40, 60] {
            ledger.add(&a, [40, size], at(0));
        }
        assert_eq!(ledger.total(at(0)), 20);
        ledger.add(&a, [60, 10], at(1));
        assert_eq!(ledger.total(at(1)), 0, "what shrinks makes no room for others");
        ledger.add(&b, [0, 700], at(30));
        ledger.changed("b", 500);
        ledger.changed("b", 900);
        ledger.changed("another", 900);
        ledger.add(&a, [10, 50], at(31));
        assert_eq!(ledger.total(at(59)), 510, "what is removed here counts no more");
        assert_eq!(ledger.total(at(60)), 500);
        assert_eq!(ledger.total(at(90)), 0);
        assert!(ledger.came.is_empty());
        ledger.add(&a, [0, u64::MAX], at(91));
        ledger.add(&b, [0, 1], at(91));
        assert_eq!(ledger.total(at(91)), u64::MAX);
        ledger.clear();
        assert_eq!(ledger.total(at(91)), 0);
    }
}
