//! The task that owns one local folder: on commands, events of the file system and of syncthing, and the clock, its parts act.
//!
//! Invariants: syncthing scans the folder only when told, and only after the root was found to be the directory
//! that it was at the start (an unmounted disk must not empty the containers); it is shared with a device exactly
//! while somebody holds a share for it; nothing is deleted here on the far side's word except through `deletions`.

mod local_changes;
mod messages;
mod remote_changes;
mod scan_queue;
mod shares;
mod syncthing_events;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use ksync_tree::Ignore;
use syncthing::{Client, Event, Folder, TypedEvent};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use local_changes::LocalChanges;
use remote_changes::RemoteChanges;
use scan_queue::ScanQueue;
use shares::Shares;
use syncthing_events::{follow, next};

pub(crate) use messages::{Closed, LocalStages, LocalState, Uptake};
pub(in crate::local) use messages::{Command, taken_up};

use super::{
    approval::{ContainerRef, PendingFile, Rollback},
    deletions::DeletionQueue,
    fs_watch::FsWatch,
    history::{LocalEdits, OwnWrites, RecentVersions, look},
    ignore::{self, ActivePatterns},
    process::{Running, State},
    root::LocalRoot,
};
use crate::{
    blocking,
    guards::{self, Guard},
    kept,
    revision::Revision,
};

/// The safety net under the watcher: a scan of everything, of a large tree less often.
const RESCAN: Duration = Duration::from_secs(60);
/// The same where the system watches only some of the directories.
const RESCAN_UNWATCHED: Duration = Duration::from_secs(10);
/// The part of its time that syncthing may spend on it.
const RESCAN_SHARE: u32 = 200;
/// How long a call that failed rests before it is made again.
const RETRY: Duration = Duration::from_millis(500);
/// Scans that may fail in a row before the folder is said to stand still: a change of devices refuses one.
const FAILURES: u32 = 4;
/// How often it is looked whether the root is there.
const ROOT_CHECK: Duration = Duration::from_secs(2);
/// How often a root that went away is looked for: a build makes its output directory anew.
const ROOT_LOOK: Duration = Duration::from_millis(200);

/// What an actor starts from.
pub(super) struct Start {
    pub(super) id: String,
    pub(super) path: PathBuf,
    pub(super) root: Arc<LocalRoot>,
    pub(super) kept: PathBuf,
    pub(super) patterns: Vec<String>,
    pub(super) ignore: Ignore,
    pub(super) syncthing: watch::Receiver<State>,
    pub(super) state_tx: watch::Sender<LocalState>,
    pub(super) pending_file: PendingFile,
    pub(super) rollbacks: Vec<Rollback>,
    pub(super) versions: Arc<RecentVersions>,
    pub(super) own_writes: Arc<OwnWrites>,
    pub(super) edits: Arc<LocalEdits>,
}

/// One local folder.
pub(super) struct Actor {
    id: String,
    path: PathBuf,
    root: Arc<LocalRoot>,
    kept: PathBuf,
    syncthing: watch::Receiver<State>,
    state_tx: watch::Sender<LocalState>,
    shares: Shares,
    queue: ScanQueue,
    /// What containers did.
    remote: RemoteChanges,
    /// What was done here.
    changes: LocalChanges,
    versions: Arc<RecentVersions>,
    /// Answered once the state shows what the commands before them have changed.
    barriers: Vec<oneshot::Sender<()>>,
    patterns: ActivePatterns,
    /// The patterns when the folder was opened.
    ignore: Ignore,
    /// No scan before this time.
    not_before: Option<Instant>,
    /// Scans that failed in a row.
    failures: u32,
    /// How long the last scan of everything took.
    full_scan: Duration,
}

/// A scan that is over.
struct Scanned {
    /// What was scanned; none means everything.
    subs: Vec<String>,
    took: Duration,
    /// The sequence of our index after it.
    sequence: Result<i64, syncthing::Error>,
    /// When a change that was noticed got so far.
    stages: Option<LocalStages>,
}
type ScanTask = JoinHandle<Scanned>;

impl Actor {
    pub(super) fn new(start: Start) -> Self {
        Self {
            queue: ScanQueue::new(&start.path, start.state_tx.clone()),
            remote: RemoteChanges {
                id: start.id.clone(),
                path: start.path.clone(),
                kept: start.kept.clone(),
                root: Arc::clone(&start.root),
                state_tx: start.state_tx.clone(),
                deletions: DeletionQueue::default(),
                rollbacks: start.rollbacks,
                pending_file: start.pending_file,
                own_writes: Arc::clone(&start.own_writes),
                ignore: start.ignore.clone(),
            },
            changes: LocalChanges::new(&start.id, &start.path, start.own_writes, start.edits),
            patterns: ActivePatterns::new(&start.path, start.patterns),
            id: start.id,
            path: start.path,
            root: start.root,
            kept: start.kept,
            syncthing: start.syncthing,
            state_tx: start.state_tx,
            shares: Shares::default(),
            versions: start.versions,
            barriers: Vec::new(),
            ignore: start.ignore,
            not_before: None,
            failures: 0,
            full_scan: Duration::ZERO,
        }
    }

    pub(super) async fn run(
        mut self,
        mut fs_watch: FsWatch,
        mut commands: mpsc::UnboundedReceiver<Command>,
        end: CancellationToken,
    ) {
        let mut running: Option<Arc<Running>> = None;
        let mut scan: Option<ScanTask> = None;
        let mut events: Option<mpsc::Receiver<Event>> = None;
        let mut rescan = Instant::now();
        let mut changes: Option<mpsc::Receiver<Event>> = None;
        let mut pulled: Option<mpsc::Receiver<Event>> = None;
        let mut root_check = Instant::now();
        self.syncthing.mark_changed();
        // A watcher was killed before it had put it back. Nothing is attached yet.
        self.remote.roll_back(&mut self.queue).await;
        loop {
            let next_due = self.queue.next_due();
            let deletions_due = self.remote.deletions.due();
            tokio::select! {
                () = end.cancelled() => break,
                changed = self.syncthing.changed() => {
                    if changed.is_err() { break }
                    let (now, reason) = match &*self.syncthing.borrow_and_update() {
                        State::Up(now) => (Some(Arc::clone(now)), None),
                        State::Down(reason) => (None, reason.clone()),
                    };
                    scan = None;
                    (events, changes, pulled) = (None, None, None);
                    if running.take().is_some() {
                        self.changes.restarted();
                    }
                    self.state_tx.send_modify(|s| s.uptake = Uptake::Down { reason });
                    if let Some(now) = now {
                        // Where this fails, the next look at the root begins again.
                        self.begin(&now).await;
                        events = Some(follow(now.client.clone(), "RemoteIndexUpdated", end.child_token()));
                        changes = Some(follow(now.client.clone(), "LocalChangeDetected", end.child_token()));
                        pulled = Some(follow(now.client.clone(), "ItemFinished", end.child_token()));
                        running = Some(now);
                    }
                }
                Some(command) = commands.recv() => self.obey(command, running.as_deref()).await,
                Some((at, event)) = fs_watch.rx.recv() => {
                    self.queue.event(at, event, &mut self.patterns);
                    self.queue.drain(&mut fs_watch, &mut self.patterns);
                }
                () = sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {
                    // What was told meanwhile may settle it.
                    self.queue.drain(&mut fs_watch, &mut self.patterns);
                    self.queue.look_at_due(&mut self.patterns);
                }
                () = sleep_until(self.not_before.unwrap_or_else(Instant::now)), if self.not_before.is_some() => {
                    self.not_before = None;
                }
                () = sleep_until(deletions_due.unwrap_or_else(Instant::now)), if deletions_due.is_some() => {
                    self.remote.deletions.looked();
                    self.remote.delete(&mut self.queue, running.as_deref()).await;
                }
                () = sleep_until(rescan) => {
                    self.queue.scan_all();
                    let least = if self.state_tx.borrow().unwatched { RESCAN_UNWATCHED } else { RESCAN };
                    rescan = Instant::now() + least.max(self.full_scan.saturating_mul(RESCAN_SHARE));
                }
                () = sleep_until(root_check) => {
                    if let Some(now) = &running {
                        self.check_root(now, &mut fs_watch).await;
                    }
                    let gone = self.root.check().is_err();
                    root_check = Instant::now() + if gone { ROOT_LOOK } else { ROOT_CHECK };
                }
                Some(event) = next(&mut events) => {
                    if matches!(event.typed(), TypedEvent::RemoteIndexUpdated { folder, .. } if folder == self.id) {
                        self.remote.delete(&mut self.queue, running.as_deref()).await;
                    }
                }
                Some(event) = next(&mut changes) => self.changes.found(&event),
                Some(event) = next(&mut pulled) => self.remote.pulled(&event),
                done = scan_over(&mut scan), if scan.is_some() => {
                    scan = None;
                    if done.sequence.is_ok() {
                        self.changes.scanned();
                    }
                    self.scanned(done);
                    self.remote.delete(&mut self.queue, running.as_deref()).await;
                    self.remote.settle_conflicts(&mut self.queue, running.as_deref()).await;
                }
            }
            if scan.is_none()
                && !self.queue.is_empty()
                && let Some(now) = &running
            {
                scan = self.launch(now, &mut fs_watch).await;
                if scan.is_none() {
                    root_check = root_check.min(Instant::now() + ROOT_LOOK);
                }
            }
            let pending = scan.is_some() || !self.queue.is_empty() || self.queue.next_due().is_some();
            self.state_tx.send_if_modified(|s| std::mem::replace(&mut s.pending, pending) != pending);
            for barrier in self.barriers.drain(..) {
                // Whoever waited may have given up.
                let _ = barrier.send(());
            }
        }
        self.close(running.as_deref()).await;
    }

    /// Takes the folder up in a syncthing process, after its root was found unchanged.
    async fn begin(&mut self, running: &Running) {
        if let Err(reason) = self.root.check() {
            return self.fail(reason);
        }
        if let Err(error) = self.patterns.ensure() {
            return self.fail(ksync_common::chain(&error));
        }
        match self.put(running).await {
            Ok(()) => {
                self.failures = 0;
                self.queue.scan_all();
                self.state_tx.send_modify(|s| {
                    s.uptake = Uptake::Scanned { process: running.number };
                    s.pending = true;
                });
            }
            Err(error) => self.fail(ksync_common::chain(&error)),
        }
    }

    /// Stops the folder when the root is not the directory that it was, and takes it up again when it is, or when
    /// the directory was removed and made anew: that is what a person or a build has done, like any other change.
    /// Returns whether the folder stands on its root.
    async fn check_root(&mut self, running: &Running, fs_watch: &mut FsWatch) -> bool {
        let stopped = self.state_tx.borrow().error().is_some();
        let mut looked = self.root.check();
        if looked.is_err() {
            looked = self.adopt_successor(fs_watch).await;
        }
        if let Err(reason) = looked {
            // What is wrong may change: gone first, then another directory in its place.
            if self.state_tx.borrow().error() != Some(&reason) {
                self.fail(reason);
            }
            if !stopped {
                self.pause(&running.client).await;
            }
            return false;
        }
        if stopped {
            self.begin(running).await;
        }
        self.state_tx.borrow().error().is_none()
    }

    /// Goes on with the directory that was made anew; a sentence when there is none.
    async fn adopt_successor(&mut self, fs_watch: &mut FsWatch) -> Result<(), String> {
        if !self.root.adopt_successor().map_err(|error| ksync_common::chain(&error))? {
            return self.root.check();
        }
        info!("the local path was made anew: going on with the new directory");
        let (path, ignore) = (self.path.clone(), self.ignore.clone());
        *fs_watch = blocking::run(move || FsWatch::start(&path, ignore))
            .await
            .map_err(|error| format!("watch `{}`: {error}", self.path.display()))?;
        self.state_tx.send_modify(|s| s.unwatched = false);
        // What came before the watch.
        self.queue.scan_all();
        self.root.check()
    }

    async fn pause(&self, client: &Client) {
        if let Err(error) = client.pause_folder(&self.id).await {
            warn!(error = ksync_common::chain(&error), "pause the folder");
        }
    }

    /// Configures devices and folder. A new device is let go only when the folder is shared with it, because
    /// a change of a folder's devices breaks their connections.
    async fn put(&self, running: &Running) -> Result<(), syncthing::Error> {
        let known: BTreeSet<String> = running.client.devices().await?.into_iter().map(|d| d.id).collect();
        let mut held_back = Vec::new();
        for mut device in self.shares.devices() {
            if !known.contains(&device.id) {
                held_back.push(device.clone());
                device.paused = true;
            }
            running.client.put_device(&device).await?;
        }
        let devices = self.shares.ids().chain([running.device_id.as_str()]);
        let mut folder = Folder::local(&self.id, &self.path.to_string_lossy()).shared_with(devices);
        // Un-pausing scans, and so does a change of devices: never over a root that is not the right one, or
        // without the patterns.
        folder.paused = self.root.check().is_err() || self.patterns.are_missing();
        folder.case_sensitive_fs = self.root.tells_names_apart();
        folder.ignore_delete = guards::on(Guard::IgnoreDelete);
        "simple".clone_into(&mut folder.versioning.kind);
        // A log that changes all the time must not fill the disk.
        folder.versioning.params = [("keep", kept::COPIES.to_string()), ("cleanoutDays", "7".to_owned())]
            .map(|(key, value)| (key.to_owned(), value))
            .into();
        folder.versioning.cleanup_interval_s = 3600;
        folder.versioning.fs_path =
            kept::Kind::replaced_by_syncthing(&self.kept).to_string_lossy().into_owned();
        running.client.put_folder(&folder).await?;
        for device in held_back {
            running.client.put_device(&device).await?;
        }
        Ok(())
    }

    /// Takes a device from the folder, and forgets it when no other folder is shared with it.
    async fn unshare(&self, running: &Running, device: &str) -> Result<(), syncthing::Error> {
        self.put(running).await?;
        let folders = running.client.folders().await?;
        let used = folders.iter().any(|folder| folder.devices.iter().any(|d| d.id == device));
        if used { Ok(()) } else { running.client.delete_device(device).await }
    }

    async fn obey(&mut self, command: Command, running: Option<&Running>) {
        match command {
            Command::Share { device, address, done } => {
                if self.shares.add(device, address)
                    && let Some(running) = running
                    && let Err(error) = self.put(running).await
                {
                    self.fail(ksync_common::chain(&error));
                }
                let _ = done.send(());
            }
            Command::Dial { device } => {
                if let (Some(node), Some(running)) = (self.shares.device(&device), running)
                    && let Err(error) = running.client.put_device(&node).await
                {
                    warn!(error = ksync_common::chain(&error), "tell where a node is dialled");
                }
            }
            Command::Unshare { device } => {
                if !self.shares.remove(&device) {
                    return;
                }
                if let Some(running) = running
                    && let Err(error) = self.unshare(running, &device).await
                {
                    self.fail(ksync_common::chain(&error));
                }
            }
            Command::Deleted { path, by } => self.remote.deleted(path, by),
            // What waits for a person goes on waiting: it was asked about.
            Command::Restored { path } => self.remote.deletions.remove(&path),
            Command::Detached => self.remote.roll_back(&mut self.queue).await,
            Command::Running { spec, containers } => {
                let runs = |by: &ContainerRef| by.spec != spec || containers.contains(&by.container);
                self.remote.retain_pending(&mut self.queue, runs).await;
            }
            Command::Answer { accept, done } => {
                let _ = done.send(self.remote.answer(&mut self.queue, accept).await);
            }
            Command::Scan { paths } if paths.is_empty() => self.queue.scan_all(),
            Command::Scan { paths } => paths.into_iter().for_each(|path| self.queue.scan(path)),
            Command::Barrier { done } => self.barriers.push(done),
            Command::Exclude { paths, done } => {
                let _ = done.send(self.exclude(paths));
            }
        }
    }

    fn exclude(&mut self, paths: Vec<String>) -> Result<(), ignore::Error> {
        if self.patterns.exclude(paths)? {
            self.queue.scan_all();
        }
        Ok(())
    }

    /// Starts a scan of what has gathered. Nothing is scanned while the root is not the one it was, or without the
    /// patterns: nothing would be left out.
    async fn launch(&mut self, running: &Running, fs_watch: &mut FsWatch) -> Option<ScanTask> {
        if self.root.check().is_err() && !self.check_root(running, fs_watch).await {
            self.queue.take();
            return None;
        }
        match self.patterns.ensure() {
            Ok(until) => self.not_before = until,
            Err(error) => {
                self.fail(ksync_common::chain(&error));
                // syncthing reads them itself, and pulls by them.
                self.pause(&running.client).await;
            }
        }
        if self.not_before.is_some() || self.state_tx.borrow().error().is_some() {
            return None;
        }
        let subs = self.queue.take();
        debug!(?subs, "scan");
        let (client, id, number) = (running.client.clone(), self.id.clone(), running.number);
        let (root, versions) = (self.root.root(), Arc::clone(&self.versions));
        let (noticed, posted) = (self.queue.take_noticed(), Instant::now());
        Some(tokio::spawn(async move {
            let mut stages = None;
            let scan = async {
                let before = look(&root, &subs);
                client.scan(&id, &subs).await?;
                stages = noticed.map(|noticed| LocalStages { noticed, posted, scanned: Instant::now() });
                let after = look(&root, &subs);
                let sequence = client.folder_status(&id).await?.sequence;
                versions.scanned(&subs, before, after, Revision { process: number, sequence });
                Ok(sequence)
            };
            let sequence = scan.await;
            Scanned { subs, took: posted.elapsed(), sequence, stages }
        }))
    }

    /// A scan that failed is made again: what it was to look at is not forgotten.
    fn scanned(&mut self, Scanned { subs, took, sequence, stages }: Scanned) {
        match sequence {
            Ok(sequence) => {
                self.failures = 0;
                if subs.is_empty() {
                    self.full_scan = took;
                    // Of pulls that were given up: of a file that changed meanwhile, most of all.
                    let root = Arc::clone(&self.root);
                    tokio::task::spawn_blocking(move || root.sweep(true));
                }
                self.state_tx.send_modify(|s| {
                    // What was noticed and is no news is no edit.
                    if sequence > s.sequence {
                        s.stages = stages;
                    }
                    s.sequence = sequence;
                });
            }
            Err(error) => {
                debug!(%error, "scan");
                self.failures += 1;
                let again = Instant::now() + RETRY;
                let full_scan = subs.is_empty().then(String::new);
                for sub in subs.into_iter().chain(full_scan) {
                    self.queue.scan_later(sub, again);
                }
                if self.failures >= FAILURES && !error.is_connection() {
                    self.fail(ksync_common::chain(&error));
                }
            }
        }
    }

    fn fail(&self, reason: String) {
        warn!(reason, "the local folder stands still");
        self.state_tx.send_modify(|s| s.uptake = s.uptake.failed(reason));
    }

    async fn close(&mut self, running: Option<&Running>) {
        self.remote.roll_back(&mut self.queue).await;
        if let Some(running) = running
            && let Err(error) = running.client.delete_folder(&self.id).await
        {
            debug!(%error, "remove the folder");
        }
        let root = Arc::clone(&self.root);
        blocking::run(move || root.sweep(false)).await;
        if let Err(error) = ignore::remove(&self.path) {
            warn!(error = ksync_common::chain(&error), "sweep the local path");
        }
    }
}

async fn scan_over(scan: &mut Option<ScanTask>) -> Scanned {
    match scan {
        Some(scan) => blocking::ended(scan.await),
        None => std::future::pending().await,
    }
}
