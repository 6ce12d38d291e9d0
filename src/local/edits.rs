//! The changes that a person, or a program of theirs, made here: whoever has an app reloaded for them hears of each.
//!
//! Invariant: what the engine itself writes here for containers is none of them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;

/// Changes that are kept for a slow listener.
const KEPT: usize = 4096;

/// All of them, each by the path of its file or symlink.
#[derive(Debug)]
pub(crate) struct LocalEdits {
    tx: broadcast::Sender<String>,
    count: AtomicU64,
}

impl Default for LocalEdits {
    fn default() -> Self {
        Self { tx: broadcast::Sender::new(KEPT), count: AtomicU64::new(0) }
    }
}

impl LocalEdits {
    /// Follows the edits from now on. A listener that is too slow loses the oldest.
    pub(crate) fn follow(&self) -> broadcast::Receiver<String> {
        self.tx.subscribe()
    }

    /// How many edits there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Tells all who follow, and counts.
    pub(super) fn record(&self, path: String) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // Nobody may be listening.
        let _ = self.tx.send(path);
    }
}
