//! Deletions of containers on their way to be applied. Pure: when they are looked at, and which of them count together.
//!
//! Invariant: a burst is judged as a whole, so nothing of it is applied while it goes on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use ksync_tree::Kind;
use tokio::time::Instant;

use super::rollback::Applied;
use crate::local::approval::ContainerRef;

/// Deletions within this time count together.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a deletion is waited for in syncthing's index.
const UNCONFIRMED: Duration = Duration::from_secs(60);
/// A burst is over when nothing was deleted for this long.
const QUIET: Duration = Duration::from_millis(200);
/// A burst that does not end is looked at after this long.
const BURST: Duration = Duration::from_secs(2);
/// A person is asked about a burst that exceeds the threshold when the burst is over, or after this long.
const LONGEST: Duration = Duration::from_secs(30);

/// A deletion that radar vouched for.
#[derive(Debug)]
pub(super) struct Vouched {
    at: Instant,
    /// The container that made it.
    pub(super) by: Arc<ContainerRef>,
}

/// Deletions that a living container made, on their way to be applied: gathered until the burst is over, so
/// that it is judged as a whole.
#[derive(Debug, Default)]
pub(in crate::local) struct DeletionQueue {
    pub(super) paths: BTreeMap<String, Vouched>,
    /// When the burst began that is not looked at yet.
    first: Option<Instant>,
    /// When the newest deletion of that burst came.
    last: Option<Instant>,
    /// When the burst was found to exceed the threshold.
    tripped: Option<Instant>,
    /// What was applied recently.
    pub(super) applied: VecDeque<(Instant, Applied)>,
}

impl DeletionQueue {
    /// The container `by` deleted `path`.
    pub(in crate::local) fn add(&mut self, path: String, by: Arc<ContainerRef>) {
        let now = Instant::now();
        self.paths.insert(path, Vouched { at: now, by });
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// A container has `path` again.
    pub(in crate::local) fn remove(&mut self, path: &str) {
        self.paths.remove(path);
    }

    /// Whether nothing is to be applied.
    pub(in crate::local) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// When the burst is to be looked at; none while there is none.
    pub(in crate::local) fn due(&self) -> Option<Instant> {
        Some((self.last? + QUIET).min(self.first? + BURST))
    }

    /// The burst is being looked at: what is left over is tried again whenever syncthing has news.
    pub(in crate::local) fn looked(&mut self) {
        (self.first, self.last) = (None, None);
    }

    /// A deletion that the index does not have after so long was undone, or overtaken by an edit here.
    pub(super) fn forget_unconfirmed(&mut self, confirmed: &[String]) {
        let confirmed: BTreeSet<&String> = confirmed.iter().collect();
        self.paths.retain(|path, vouched| confirmed.contains(path) || vouched.at.elapsed() < UNCONFIRMED);
    }

    /// All deletions, vouched for by now, of the containers that made the `confirmed` deletions, by container.
    pub(super) fn vouched_by_those_of(
        &self,
        confirmed: &[String],
    ) -> BTreeMap<Arc<ContainerRef>, Vec<String>> {
        let mut vouched: BTreeMap<Arc<ContainerRef>, Vec<String>> = BTreeMap::new();
        for Vouched { by, .. } in confirmed.iter().filter_map(|path| self.paths.get(path)) {
            vouched.entry(Arc::clone(by)).or_default();
        }
        for (path, Vouched { by, .. }) in &self.paths {
            if let Some(paths) = vouched.get_mut(by) {
                paths.push(path.clone());
            }
        }
        vouched
    }

    /// The burst exceeds the threshold. Returns whether a person may be asked: until the burst is over, it is looked at again.
    pub(super) fn trip(&mut self) -> bool {
        let now = Instant::now();
        let since = *self.tripped.get_or_insert(now);
        let newest = self.paths.values().map(|vouched| vouched.at).max();
        let over = newest.is_none_or(|newest| now >= newest + QUIET) || now >= since + LONGEST;
        if over {
            self.tripped = None;
        } else {
            self.first = Some(now);
            self.last = newest;
        }
        over
    }

    /// How many files were applied within the window.
    pub(super) fn recently_applied(&mut self) -> usize {
        while self.applied.front().is_some_and(|(at, _)| at.elapsed() >= WINDOW) {
            self.applied.pop_front();
        }
        let entries = self.applied.iter().flat_map(|(_, applied)| &applied.entries);
        entries.filter(|(_, entry)| entry.kind != Kind::Dir).count()
    }
}

#[cfg(test)]
mod tests {
    use ksync_tree::Entry;
    use tokio::time::{Instant, advance};

    use super::{Applied, Arc, BURST, ContainerRef, DeletionQueue, Kind, LONGEST, QUIET, WINDOW};

    fn by(container: &str) -> Arc<ContainerRef> {
        Arc::new(ContainerRef { container: container.into(), ..ContainerRef::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_looked_at_when_it_is_over_or_too_long() {
        let mut queue = DeletionQueue::default();
        assert_eq!(queue.due(), None);
        let begun = Instant::now();
        queue.add("a".into(), by("c"));
        assert_eq!(queue.due(), Some(begun + QUIET));
        for _ in 0..30 {
            advance(QUIET / 2).await;
            queue.add("b".into(), by("c"));
        }
        assert_eq!(queue.due(), Some(begun + BURST));
        queue.looked();
        assert!(queue.due().is_none() && !queue.is_empty());
    }

    /// So many files, and a directory, which does not count.
    fn applied(files: usize) -> Applied {
        let entry =
            |kind| Entry { path: "x".into(), kind, size: 0, mtime_ns: 0, mode: 0, hash: None, target: None };
        let kinds = std::iter::repeat_n(Kind::File, files).chain([Kind::Dir]);
        Applied { kept: "/kept".into(), entries: kinds.map(|kind| (by("c"), entry(kind))).collect() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_recently_applied_counts_for_a_while() {
        let mut queue = DeletionQueue::default();
        queue.applied.push_back((Instant::now(), applied(7)));
        advance(WINDOW / 2).await;
        queue.applied.push_back((Instant::now(), applied(4)));
        assert_eq!(queue.recently_applied(), 11);
        advance(WINDOW).await;
        assert_eq!(queue.recently_applied(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn too_much_is_told_when_the_burst_is_over_or_too_long() {
        let mut queue = DeletionQueue::default();
        queue.add("a".into(), by("c"));
        assert!(!queue.trip());
        assert_eq!(queue.due(), Some(Instant::now() + QUIET), "it is looked at again");
        advance(QUIET).await;
        assert!(queue.trip());
        let begun = Instant::now();
        queue.add("b".into(), by("c"));
        while !queue.trip() {
            advance(QUIET / 2).await;
            queue.add("b".into(), by("c"));
        }
        assert!(begun.elapsed() >= LONGEST);
    }

    #[test]
    fn a_deletion_is_counted_for_the_container_that_made_it() {
        let mut queue = DeletionQueue::default();
        for (path, container) in [("a", "one"), ("b", "one"), ("c", "two")] {
            queue.add(path.into(), by(container));
        }
        let vouched = queue.vouched_by_those_of(&["b".to_owned()]);
        assert_eq!(vouched, [(by("one"), vec!["a".to_owned(), "b".to_owned()])].into());
    }
}
