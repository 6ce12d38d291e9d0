//! What the next scan covers: the paths of file system events, debounced, and all other paths that are to be scanned.
//!
//! Invariant: a path that changed is in the queue until a scan takes it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use syncthing::Batch;
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use super::messages::LocalState;
use crate::local::{
    fs_watch::{Debounce, FsEvent, FsWatch, may_be_synced},
    ignore::ActivePatterns,
};

/// Events that are taken in at once, at most.
const AT_ONCE: usize = 4096;

/// Paths that are to be scanned, and conflict copies that are to be settled.
pub(super) struct ScanQueue {
    path: PathBuf,
    state_tx: watch::Sender<LocalState>,
    batch: Batch,
    /// Changes that are scanned later.
    debounce: Debounce,
    /// When the oldest of the changes that wait was noticed.
    noticed: Option<Instant>,
    /// Conflict copies that syncthing made and that are not settled yet.
    pub(super) conflicts: BTreeSet<String>,
}

impl ScanQueue {
    /// For the local path `path`, with nothing to scan.
    pub(super) fn new(path: &Path, state_tx: watch::Sender<LocalState>) -> Self {
        Self {
            path: path.to_owned(),
            state_tx,
            batch: Batch::default(),
            debounce: Debounce::default(),
            noticed: None,
            conflicts: BTreeSet::new(),
        }
    }

    /// Takes in the events that have come by now.
    pub(super) fn drain(&mut self, fs_watch: &mut FsWatch, patterns: &mut ActivePatterns) {
        for _ in 0..AT_ONCE {
            let Some((at, event)) = fs_watch.rx.try_recv() else { return };
            self.event(at, event, patterns);
        }
    }

    /// Takes in an event that came `at` that time.
    pub(super) fn event(&mut self, at: Instant, event: FsEvent, patterns: &mut ActivePatterns) {
        match event {
            FsEvent::NotUtf8 => self.pass_over(),
            FsEvent::ConflictCopy(copy) => {
                // The scan that this asks for comes after syncthing is through with the file.
                if let Some(of) = syncthing::conflict::copy(&copy) {
                    self.batch.add(of.original);
                    self.conflicts.insert(copy);
                }
            }
            FsEvent::Rescan => self.batch.add_all(),
            FsEvent::WatchLimit => {
                let news = |s: &mut LocalState| !std::mem::replace(&mut s.unwatched, true);
                if self.state_tx.send_if_modified(news) {
                    warn!("more directories than the system lets watch: everything is looked at every 10 s");
                    self.batch.add_all();
                }
            }
            FsEvent::Failed(reason) => {
                warn!(reason, "the local watch failed; scanning everything");
                self.batch.add_all();
            }
            of_a_path => {
                for path in self.debounce.take(at, of_a_path) {
                    self.changed(at, path, patterns);
                }
            }
        }
    }

    /// Has those paths scanned that have waited long enough.
    pub(super) fn look_at_due(&mut self, patterns: &mut ActivePatterns) {
        for (noticed, path) in self.debounce.due(Instant::now()) {
            self.changed(noticed, path, patterns);
        }
    }

    /// Has a path scanned, unless syncthing passes it over.
    fn changed(&mut self, at: Instant, path: String, patterns: &mut ActivePatterns) {
        if !ksync_tree::is_composed(&path) {
            return self.pass_over();
        }
        patterns.changed(&path);
        if !may_be_synced(&self.path.join(&path)) {
            self.pass_over();
        }
        self.noticed.get_or_insert(at);
        self.batch.add(path);
    }

    /// A name changed that syncthing passes over: the list of such names is made anew.
    fn pass_over(&self) {
        self.state_tx.send_modify(|s| s.passed_over += 1);
    }

    /// Has a path scanned with the next scan.
    pub(super) fn scan(&mut self, path: String) {
        self.batch.add(path);
    }

    /// Has everything scanned with the next scan.
    pub(super) fn scan_all(&mut self) {
        self.batch.add_all();
    }

    /// Has a path scanned, at the latest at `until`.
    pub(super) fn scan_later(&mut self, path: String, until: Instant) {
        self.debounce.later(path, until);
    }

    /// When the next of the changes that wait is to be scanned.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.debounce.next()
    }

    /// Whether there is nothing to scan now.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// What the next scan covers, none meaning everything; it is in the queue no more.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.batch.take()
    }

    /// When the oldest of the changes was noticed that the next scan covers.
    pub(super) fn take_noticed(&mut self) -> Option<Instant> {
        self.noticed.take()
    }
}
