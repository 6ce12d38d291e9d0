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

use super::large_file::LargeFile;

/// How long a spool rests after a failure.
const REST: Duration = Duration::from_secs(30);

/// How long a spool may take to come back for a file that is under way in it.
const BACK: Duration = Duration::from_secs(8);

/// A node's spool.
#[derive(Debug)]
pub(crate) struct Spool {
    /// There while both syncthings share it and are connected. keeper --pair--> transfers
    pair_tx: watch::Sender<Option<Arc<Pair>>>,
    /// The last one that was there: files may be under way in it.
    last: Mutex<Option<Arc<Pair>>>,
    rests_until: Mutex<Option<Instant>>,
    /// Only such files go through it.
    large: LargeFile,
}

/// The way of one file.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) pair: Arc<Pair>,
    pub(super) name: Name,
}

impl Spool {
    /// One that is not there yet, for files of at least this size.
    pub(super) fn new(large: LargeFile) -> Self {
        Self {
            pair_tx: watch::Sender::new(None),
            last: Mutex::default(),
            rests_until: Mutex::default(),
            large,
        }
    }

    /// It is there from now on, or it is not.
    pub(super) fn set(&self, pair: Option<Arc<Pair>>) {
        if pair.is_some() {
            (*self.last.lock().unwrap_or_else(PoisonError::into_inner)).clone_from(&pair);
        }
        self.pair_tx.send_replace(pair);
    }

    /// It will not come back.
    pub(super) fn end(&self) {
        self.set(None);
        drop(self.last.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The way of a file, where it is one for it and there is one. For a file that was under way when the connection broke, it
    /// is waited for.
    pub(super) async fn way(&self, entry: &Entry) -> Option<Way> {
        let name = Name::new(entry.hash.filter(|_| entry.size >= self.large.0)?);
        let rests = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        if rests.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let mut pair_rx = self.pair_tx.subscribe();
        let now = pair_rx.borrow_and_update().clone();
        if let Some(pair) = now {
            return Some(Way { pair, name });
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        if !last.has_begun(name) {
            return None;
        }
        let back = tokio::time::timeout(BACK, pair_rx.wait_for(Option::is_some)).await.ok()?.ok()?;
        Some(Way { pair: back.clone()?, name })
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

    const SIZE: u64 = 1 << 20;
    const LARGE: LargeFile = LargeFile(SIZE);

    fn entry(size: u64, hash: Option<[u8; 32]>) -> Entry {
        Entry { path: "f".into(), kind: Kind::File, size, mtime_ns: 0, mode: 0o644, hash, target: None }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_large_file_has_a_way_and_only_while_the_spool_is_well() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(LARGE);
        let large = entry(SIZE, Some([1; 32]));
        assert!(spool.way(&large).await.is_none(), "there is none yet");
        spool.set(Some(Arc::new(Pair::open(End::Here, &dir.path().join("p"), "s", "1").unwrap())));
        assert!(spool.way(&large).await.is_some());
        assert!(spool.way(&entry(SIZE - 1, Some([1; 32]))).await.is_none());
        assert!(spool.way(&entry(SIZE, None)).await.is_none());
        spool.failed(Name::new([1; 32]), "it did not come");
        assert!(spool.way(&large).await.is_none());
        tokio::time::sleep(REST).await;
        assert!(spool.way(&large).await.is_some());
        spool.set(None);
        assert!(spool.way(&large).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_file_that_is_under_way_waits_for_a_spool_that_was_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, at) = (Spool::new(LARGE), dir.path().join("p"));
        let pair = Arc::new(Pair::open(End::Here, &at, "s", "1").unwrap());
        spool.set(Some(Arc::clone(&pair)));
        spool.set(None);
        let large = entry(SIZE, Some([1; 32]));
        let begun = Instant::now();
        assert!(spool.way(&large).await.is_none());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        std::fs::write(at.join(format!("in/.syncthing.{}.tmp", Name::new([1; 32]))), "half").unwrap();
        assert!(spool.way(&large).await.is_none());
        assert_eq!(begun.elapsed(), BACK, "it did not come back");
        let back = async {
            tokio::time::sleep(BACK / 2).await;
            spool.set(Some(pair));
        };
        assert!(tokio::join!(spool.way(&large), back).0.is_some());
        spool.end();
        assert!(spool.way(&large).await.is_none());
    }
}
