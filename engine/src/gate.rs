//! Whether a container's deletions are applied here: a burst is judged as a whole, once it is over, with what was applied
//! shortly before. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long nothing more must have been removed, after one removal.
const QUIET: Duration = Duration::from_millis(60);
/// The same after several: whoever removes many may be held up in between.
const QUIET_AFTER_SEVERAL: Duration = Duration::from_millis(300);
/// A burst is judged after this at the latest.
const LONGEST: Duration = Duration::from_millis(1500);
/// Deletions that were applied so shortly before a burst count with it: whoever removes many may be held up for longer than
/// is waited, or need longer than a burst lasts.
const RECENT: Duration = Duration::from_secs(10);
/// Fewer files are never asked about.
pub(crate) const MANY: usize = 20;

/// Where a container's deletions stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// There are none.
    Idle,
    /// A burst goes on.
    Burst {
        /// When it began.
        since: Instant,
        /// When something was last removed.
        last: Instant,
        /// Nothing else was removed.
        one: bool,
    },
    /// They are being applied.
    Open,
    /// The same, because a person has agreed.
    Agreed,
    /// A person is asked.
    Asked,
    /// They are not applied any more: they belong to the container's end.
    Closed,
}

impl Gate {
    /// Something was removed.
    pub(crate) fn removed(&mut self, now: Instant) {
        *self = match *self {
            Self::Idle | Self::Open | Self::Agreed => Self::Burst { since: now, last: now, one: true },
            Self::Burst { since, .. } => Self::Burst { since, last: now, one: false },
            Self::Asked | Self::Closed => *self,
        };
    }

    /// Whether they are applied.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Agreed)
    }

    /// When it is to be judged; none while it is not.
    pub(crate) fn due(self) -> Option<Instant> {
        match self {
            Self::Burst { since, last, one } => {
                let quiet = if one { QUIET } else { QUIET_AFTER_SEVERAL };
                Some((last + quiet).min(since + LONGEST))
            }
            Self::Idle | Self::Open | Self::Agreed | Self::Asked | Self::Closed => None,
        }
    }
}

/// A file's content, as it is told from others.
pub(crate) type Hash = Option<[u8; 32]>;

/// The container's deletions of files that were applied here shortly ago: when, and of which content.
#[derive(Debug, Default)]
pub(crate) struct Applied(BTreeMap<Arc<str>, (Instant, Hash)>);

impl Applied {
    /// One more was applied.
    pub(crate) fn add(&mut self, path: Arc<str>, content: Hash, now: Instant) {
        self.0.insert(path, (now, content));
    }

    /// Of how many files that is so. What is here again, as after each build, was replaced, not deleted.
    pub(crate) fn count(&mut self, now: Instant, is_here: impl Fn(&str) -> bool) -> usize {
        self.0.retain(|path, (at, _)| now <= *at + RECENT && !is_here(path));
        self.0.len()
    }

    /// Forgets those whose content `stands` under another name: they were moved.
    pub(crate) fn forget_moved(&mut self, stands: &HashSet<[u8; 32]>) {
        self.0.retain(|_, (_, content)| !content.is_some_and(|content| stands.contains(&content)));
    }

    /// They were agreed to, or are answered for.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether so many of the files that are here may be removed without asking.
pub(crate) fn is_much(files: usize, of: usize) -> bool {
    files >= MANY && files * 2 > of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_judged_when_it_is_over_and_not_later_than_its_limit() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut gate = Gate::Idle;
        assert_eq!(gate.due(), None);
        gate.removed(at(0));
        assert_eq!(gate.due(), Some(at(60)));
        gate.removed(at(50));
        assert_eq!(gate.due(), Some(at(350)));
        for ms in (100..3000).step_by(50) {
            gate.removed(at(ms));
        }
        assert_eq!(gate.due(), Some(at(1500)));
        gate = Gate::Asked;
        gate.removed(at(4000));
        assert_eq!((gate, gate.due()), (Gate::Asked, None));
        gate = Gate::Closed;
        gate.removed(at(4000));
        assert!(gate == Gate::Closed && !gate.is_open() && gate.due().is_none());
    }

    #[test]
    fn what_was_applied_counts_for_ten_seconds() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut applied = Applied::default();
        let nothing = |_: &str| false;
        for (path, ms) in [("a", 0), ("b", 4_000), ("c", 4_000)] {
            applied.add(path.into(), Some([path.as_bytes()[0]; 32]), at(ms));
        }
        assert_eq!((applied.count(at(10_000), nothing), applied.count(at(10_001), nothing)), (3, 2));
        assert_eq!(applied.count(at(10_001), |path| path == "b"), 1, "`b` is here again");
        applied.add("d".into(), None, at(10_001));
        applied.forget_moved(&HashSet::from([[b'c'; 32]]));
        assert_eq!(applied.count(at(10_001), nothing), 1, "`c` has another name");
        applied.clear();
        assert_eq!(applied.count(at(10_001), nothing), 0);
    }

    #[test]
    fn more_than_half_is_much_unless_it_is_little() {
        assert!(is_much(20, 39) && is_much(100, 100));
        assert!(!is_much(20, 40) && !is_much(19, 19));
    }
}
