//! What endpoints take of radar's memory: for what they know of their directories, and for requests that wait for them.
//!
//! Invariant: neither the number of a person's directories, nor what is in them or asked for there, takes more than a person
//! may have, and all people together no more than the node has for it. Whose directories have more in them hears so; nobody
//! else's endpoint ends for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ksync_endpoint::Meter;
use ksync_keys::Fingerprint;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes for what is known of the directories of one person, and of all: half of what the container `radar` may have
/// (`manifests/radar.yaml`) less than the rest that one key can take.
const OWN_ENTRIES: usize = 384 << 20;
const ENTRIES: usize = 1 << 30;
/// Bytes of requests of one person, and of all, that may wait for their endpoints.
const OWN_REQUESTS: usize = 64 << 20;
const REQUESTS: usize = 256 << 20;
/// How long requests wait for others of the same person to be obeyed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooMuch {
    /// In the directories of one person.
    #[error(
        "what is in all directories of one key on this node takes more than {} MiB of radar's memory: sync fewer files, or \
         use --ignore",
        OWN_ENTRIES >> 20
    )]
    OwnEntries,
    /// In the directories of all.
    #[error("what is in all directories that are synced on this node takes more than {} MiB of radar's memory", ENTRIES >> 20)]
    Entries,
    /// Requests of one person that nothing becomes of.
    #[error(
        "more than {} MiB of changes of one key wait on this node for {} s",
        OWN_REQUESTS >> 20,
        PATIENCE.as_secs()
    )]
    OwnRequests,
}

/// Bytes that may be taken.
#[derive(Debug)]
struct Account {
    used: AtomicUsize,
    limit: usize,
}

impl Account {
    fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit }
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct Pool {
    entries: Account,
    requests: Arc<Semaphore>,
}

impl Pool {
    fn new(entries: usize, requests: usize) -> Arc<Self> {
        Arc::new(Self { entries: Account::new(entries), requests: Arc::new(Semaphore::new(requests)) })
    }
}

/// The memory of all endpoints. Who takes none has no entry.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    all: Arc<Pool>,
    /// Bytes of entries that one person may have.
    own: usize,
    of_people: Arc<Mutex<HashMap<Fingerprint, Weak<Purse>>>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { all: Pool::new(ENTRIES, REQUESTS), own: OWN_ENTRIES, of_people: Arc::default() }
    }
}

impl Memory {
    /// With room for less.
    #[cfg(test)]
    pub(super) fn of_entries(own: usize, all: usize) -> Self {
        Self { all: Pool::new(all, REQUESTS), own, of_people: Arc::default() }
    }

    /// A person's share, for as long as it is in use.
    pub(crate) fn of(&self, person: Fingerprint) -> Arc<Purse> {
        let mut people = self.of_people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(purse) = people.get(&person).and_then(Weak::upgrade) {
            return purse;
        }
        people.retain(|_, purse| purse.strong_count() > 0);
        let purse = Arc::new(Purse { own: Pool::new(self.own, OWN_REQUESTS), all: Arc::clone(&self.all) });
        people.insert(person, Arc::downgrade(&purse));
        purse
    }
}

/// What a person has of it.
#[derive(Debug)]
pub(crate) struct Purse {
    own: Arc<Pool>,
    all: Arc<Pool>,
}

/// Memory of a request, until it is obeyed.
#[derive(Debug)]
pub(crate) struct Held {
    _permits: [OwnedSemaphorePermit; 2],
}

impl Purse {
    /// Memory for a request of so many bytes, when there is.
    pub(crate) async fn hold(&self, bytes: usize) -> Result<Held, TooMuch> {
        let bytes = u32::try_from(bytes.min(OWN_REQUESTS)).unwrap_or(u32::MAX);
        let taken = |pool: &Pool| Arc::clone(&pool.requests).acquire_many_owned(bytes);
        let both = async { Ok([taken(&self.own).await?, taken(&self.all).await?]) };
        let both = tokio::time::timeout(PATIENCE, both).await;
        let permits: Result<_, tokio::sync::AcquireError> = both.map_err(|_| TooMuch::OwnRequests)?;
        Ok(Held { _permits: permits.map_err(|_| TooMuch::OwnRequests)? })
    }

    /// Why an endpoint that is full is so.
    pub(crate) fn refusal(&self) -> TooMuch {
        let rest = |account: &Account| account.limit.saturating_sub(account.used.load(Ordering::Acquire));
        if rest(&self.own.entries) <= rest(&self.all.entries) {
            TooMuch::OwnEntries
        } else {
            TooMuch::Entries
        }
    }
}

impl Meter for Purse {
    fn take(&self, bytes: usize) -> bool {
        if !self.own.entries.take(bytes) {
            return false;
        }
        if self.all.entries.take(bytes) {
            return true;
        }
        self.own.entries.give_back(bytes);
        false
    }

    fn give_back(&self, bytes: usize) {
        self.own.entries.give_back(bytes);
        self.all.entries.give_back(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_one_person_takes_has_a_limit_and_is_given_back() {
        let memory = Memory::default();
        let (me, other) = (memory.of(Fingerprint::of(b"s")), memory.of(Fingerprint::of(b"t")));
        assert!(me.take(OWN_ENTRIES) && !me.take(1));
        assert_eq!(me.refusal(), TooMuch::OwnEntries);
        assert!(other.take(OWN_ENTRIES), "somebody else has his own");
        let third = memory.of(Fingerprint::of(b"u"));
        assert!(!third.take(OWN_ENTRIES), "there is no more of it on the node");
        assert_eq!(third.own.entries.used.load(Ordering::SeqCst), 0, "what was refused is not taken");
        me.give_back(OWN_ENTRIES);
        assert!(third.take(OWN_ENTRIES));
        let held = me.hold(OWN_REQUESTS).await.unwrap();
        let refused = me.hold(1).await.unwrap_err();
        assert_eq!(refused.to_string(), "more than 64 MiB of changes of one key wait on this node for 60 s");
        assert!(other.hold(1).await.is_ok());
        drop(held);
        assert!(me.hold(1 << 40).await.is_ok(), "a single one is never too large to wait");
    }

    #[test]
    fn who_comes_back_has_no_more_than_before() {
        let memory = Memory::default();
        let (person, mine) = (Fingerprint::of(b"s"), memory.of(Fingerprint::of(b"s")));
        assert!(mine.take(OWN_ENTRIES) && !memory.of(person).take(1));
        drop(mine);
        assert_eq!(memory.of(Fingerprint::of(b"t")).own.entries.limit, OWN_ENTRIES);
        assert_eq!(memory.of_people.lock().unwrap().len(), 1, "who has left is forgotten");
    }
}
