//! Whether large files of a node go through its spool just now: as the transfers ask it, and as the spool's keeper says it.
//!
//! Invariant: a spool that has failed once rests, so that no more than one file in a while waits for it in vain.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ksync_spool::{Name, Pair};
use ksync_tree::Entry;
use tokio::{sync::watch, time::Instant};

/// The smallest file that goes through the spool, in bytes: a smaller one is there by the stream before a second scan, index
/// and pull would begin.
pub(super) const SPOOLED: u64 = 8 << 20;
/// How long a spool rests after a failure.
const REST: Duration = Duration::from_secs(30);

/// A node's spool.
#[derive(Debug)]
pub(crate) struct Spool {
    /// There while both syncthings share it and are connected. keeper --pair--> transfers
    pair_tx: watch::Sender<Option<Arc<Pair>>>,
    rests_until: Mutex<Option<Instant>>,
}

impl Default for Spool {
    fn default() -> Self {
        Self { pair_tx: watch::Sender::new(None), rests_until: Mutex::default() }
    }
}

/// The way of one file.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) pair: Arc<Pair>,
    pub(super) name: Name,
}

impl Spool {
    /// It is there from now on, or it is not.
    pub(super) fn set(&self, pair: Option<Arc<Pair>>) {
        self.pair_tx.send_replace(pair);
    }

    /// The way of a file, where it is one for it and there is one.
    pub(super) fn way(&self, entry: &Entry) -> Option<Way> {
        let name = Name::new(entry.hash.filter(|_| entry.size >= SPOOLED)?);
        let rests = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        if rests.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        Some(Way { pair: self.pair_tx.borrow().clone()?, name })
    }

    /// A file did not come through it.
    pub(super) fn failed(&self, name: Name, reason: &str) {
        tracing::warn!(%name, reason, rest = ?REST, "a large file goes by the stream and not by syncthing");
        let until = Instant::now() + REST;
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

#[cfg(test)]
mod tests {
    use ksync_spool::End;
    use ksync_tree::Kind;

    use super::*;

    fn entry(size: u64, hash: Option<[u8; 32]>) -> Entry {
        Entry { path: "f".into(), kind: Kind::File, size, mtime_ns: 0, mode: 0o644, hash, target: None }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_large_file_has_a_way_and_only_while_the_spool_is_well() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::default();
        let large = entry(SPOOLED, Some([1; 32]));
        assert!(spool.way(&large).is_none(), "there is none yet");
        spool.set(Some(Arc::new(Pair::open(End::Here, &dir.path().join("p"), "s", "1").unwrap())));
        assert!(spool.way(&large).is_some());
        assert!(spool.way(&entry(SPOOLED - 1, Some([1; 32]))).is_none());
        assert!(spool.way(&entry(SPOOLED, None)).is_none());
        spool.failed(Name::new([1; 32]), "it did not come");
        assert!(spool.way(&large).is_none());
        tokio::time::sleep(REST).await;
        assert!(spool.way(&large).is_some());
        spool.set(None);
        assert!(spool.way(&large).is_none());
    }
}
