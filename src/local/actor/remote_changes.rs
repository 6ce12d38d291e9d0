//! What containers did to the folder: their deletions, applied, pending or rolled back, and conflicts.
//!
//! Invariant: deletions that wait for a person are kept in a file before anybody is told of them.

use std::{path::PathBuf, sync::Arc};

use ksync_tree::{Ignore, Root, stat_entry};
use syncthing::{Event, TypedEvent};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    messages::{Closed, LocalState},
    scan_queue::ScanQueue,
};
use crate::{
    blocking, kept,
    local::{
        approval::{ContainerRef, PendingDeletions, PendingFile, Rollback},
        conflict,
        deletions::{self, DeletionQueue, SyncedFolder},
        history::OwnWrites,
        process::Running,
        root::LocalRoot,
    },
};

/// Deletions of containers on their way, and those that wait for a person.
pub(super) struct RemoteChanges {
    pub(super) id: String,
    pub(super) path: PathBuf,
    pub(super) kept: PathBuf,
    pub(super) root: Arc<LocalRoot>,
    pub(super) state_tx: watch::Sender<LocalState>,
    /// Deletions that a living container made and that are not applied yet.
    pub(super) deletions: DeletionQueue,
    /// What was applied of bursts that wait for a person now: it is put back when its container is detached.
    pub(super) rollbacks: Vec<Rollback>,
    /// Keeps both; the deletions that wait for a person are in the state.
    pub(super) pending_file: PendingFile,
    pub(super) own_writes: Arc<OwnWrites>,
    /// What is left out.
    pub(super) ignore: Ignore,
}

impl RemoteChanges {
    /// A container deleted `path`. One whose deletions wait for a person has one more that does.
    pub(super) fn deleted(&mut self, path: String, by: Arc<ContainerRef>) {
        let waits = self.state_tx.borrow().pending_deletions.of(&by.container).is_some();
        if !waits {
            return self.deletions.add(path, by);
        }
        let here = || stat_entry(&Root::open(&self.path).ok()?, &path, false).ok()?;
        self.change_pending(|pending| pending.add(&by.container, here));
    }

    /// Changes the pending deletions, and keeps them when `change` returns that it did.
    fn change_pending(&self, change: impl FnOnce(&mut PendingDeletions) -> bool) {
        let mut pending = self.state_tx.borrow().pending_deletions.clone();
        if !change(&mut pending) {
            return;
        }
        self.keep_waiting(&pending);
        self.state_tx.send_modify(|s| s.pending_deletions = pending);
    }

    fn keep_waiting(&self, pending: &PendingDeletions) {
        if let Err(error) = self.pending_file.save(pending, &self.rollbacks) {
            warn!(%error, "keep what waits; it is forgotten with this watcher");
        }
    }

    /// Puts back what was applied of bursts that wait now: while a person is asked, nothing is missing here.
    pub(super) async fn roll_back(&mut self, queue: &mut ScanQueue) {
        if self.rollbacks.is_empty() || self.root.check().is_err() {
            return;
        }
        match deletions::roll_back(&self.path, &self.kept, &self.rollbacks).await {
            Ok(paths) => {
                info!(paths = paths.len(), "what was taken out and waits now is back");
                self.note_own_writes(&paths);
                for path in paths {
                    queue.scan(path);
                }
                self.rollbacks.clear();
                self.keep_waiting(&self.state_tx.borrow().pending_deletions);
            }
            Err(error) => {
                warn!(error = ksync_common::chain(&error), "put back; it is still kept, and tried again");
            }
        }
    }

    /// A person's answer to all pending deletions. Returns the number of files.
    pub(super) async fn answer(&mut self, queue: &mut ScanQueue, accept: bool) -> Result<usize, Closed> {
        self.roll_back(queue).await;
        let pending_deletions = self.state_tx.borrow().pending_deletions.clone();
        let mut files = 0;
        for burst in pending_deletions.iter() {
            files += if accept {
                self.root.check().map_err(|reason| Closed::new(&reason))?;
                let applied = deletions::apply_pending(&self.path, &self.kept, burst, &self.ignore).await;
                let gone = applied.map_err(|error| Closed::new(&ksync_common::chain(&error)))?;
                self.note_own_writes(&gone);
                let count = burst.files_of(&gone);
                for path in gone {
                    queue.scan(path);
                }
                count
            } else {
                burst.files()
            };
            info!(accept, container = burst.by.container, files = burst.files(), "deletions are answered");
            self.change_pending(|pending| pending.retain(|other| other.by != burst.by));
        }
        Ok(files)
    }

    /// Forgets the pending deletions of all containers but those that `keep` names.
    pub(super) async fn retain_pending(
        &mut self,
        queue: &mut ScanQueue,
        keep: impl Fn(&ContainerRef) -> bool,
    ) {
        self.change_pending(|pending| pending.retain(|burst| keep(&burst.by)));
        if self.state_tx.borrow().pending_deletions.is_empty() {
            self.roll_back(queue).await;
        }
    }

    /// Applies those deletions that syncthing's index confirms, once their burst is over.
    pub(super) async fn delete(&mut self, queue: &mut ScanQueue, running: Option<&Running>) {
        let Some(running) = running else { return };
        // While a burst of deletions goes on, nothing of it is applied.
        let wait = self.deletions.is_empty() || self.deletions.due().is_some();
        if wait || self.root.check().is_err() || self.state_tx.borrow().error().is_some() {
            return;
        }
        let folder = SyncedFolder {
            client: &running.client,
            id: &self.id,
            path: &self.path,
            kept: &self.kept,
            ignore: &self.ignore,
        };
        match deletions::apply(&folder, &mut self.deletions).await {
            Ok(outcome) => {
                self.trim_kept(kept::Kind::Deleted, outcome.removed.clone());
                self.note_own_writes(&outcome.removed);
                outcome.removed.into_iter().for_each(|path| queue.scan(path));
                self.rollbacks.extend(outcome.rollbacks);
                for burst in outcome.pending {
                    warn!(reason = burst.reason(), "deletions wait for an answer");
                    self.change_pending(|pending| {
                        pending.merge(burst);
                        true
                    });
                }
            }
            Err(error) => warn!(error = ksync_common::chain(&error), "apply a container's deletion"),
        }
    }

    /// What was just written or removed for a container is no change of somebody here.
    fn note_own_writes(&self, paths: &[String]) {
        // Without a root nothing is scanned either.
        if let Ok(root) = Root::open(&self.path) {
            self.own_writes.done(&root, paths);
        }
    }

    /// syncthing has brought something from a container. What it replaced is kept for good, beside what comes next.
    pub(super) fn pulled(&self, event: &Event) {
        let TypedEvent::ItemFinished { folder, item, kind, action, error: None } = event.typed() else {
            return;
        };
        if folder != self.id || kind != "file" || action != "update" {
            return;
        }
        let kept = self.kept.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = kept::set_aside(&kept, &item) {
                warn!(path = item, %error, "set a replaced file aside");
            }
        });
    }

    /// Beside what comes next: one more of each of `paths` was kept.
    fn trim_kept(&self, kind: kept::Kind, paths: Vec<String>) {
        let folder = self.kept.clone();
        tokio::task::spawn_blocking(move || kept::trim(&folder, kind, &paths));
    }

    /// Puts local content back where syncthing let a container's win.
    pub(super) async fn settle_conflicts(&mut self, queue: &mut ScanQueue, running: Option<&Running>) {
        // One that was made in a container is the container's content, as its folder's `conflicts` have it.
        let own = running.map(|running| running.device_id.as_str()).unwrap_or_default();
        queue.conflicts.retain(|copy| syncthing::conflict::copy(copy).is_some_and(|copy| !copy.lost_to(own)));
        if queue.conflicts.is_empty() || self.root.check().is_err() {
            return;
        }
        let (copies, at) = (std::mem::take(&mut queue.conflicts), self.path.clone());
        let kept = kept::Kind::Conflict.moment(&self.kept);
        let (settled, failed) = blocking::run(move || conflict::settle_all(&at, &kept, copies)).await;
        self.trim_kept(kept::Kind::Conflict, settled.clone());
        self.note_own_writes(&settled);
        for path in &settled {
            info!(path, "both sides changed it: the local content stays, the container's is kept");
            queue.scan(path.clone());
        }
        if let Some(error) = failed {
            warn!(error = ksync_common::chain(&error), "settle a conflict");
        }
    }
}
