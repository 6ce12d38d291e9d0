//! The task that owns one local folder.
//!
//! Invariants: syncthing scans the folder only when told, and only after the root was found to be the directory
//! that it was at the start (an unmounted disk must not empty the containers); it is shared with a device exactly
//! while somebody holds a share for it; nothing is deleted here on the far side's word except through `deletion`.

mod events;
mod ours;
mod theirs;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ksync_tree::Ignore;
use syncthing::{Batch, Client, Device, Event, Folder, event::What};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use events::{follow, next};
use ours::Heard;

use super::{
    HoldFile, Running, State, Who,
    deletion::Agreed,
    folder::{Command, Local, Trip},
    gather::Gather,
    ground::Ground,
    hold::Owed,
    lately::{self, Lately},
    notice::Notices,
    origin::{Edits, Theirs},
    patterns::Patterns,
    stignore,
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

/// What an owner starts from.
pub(super) struct Start {
    pub(super) id: String,
    pub(super) path: PathBuf,
    pub(super) ground: Arc<Ground>,
    pub(super) kept: PathBuf,
    pub(super) patterns: Vec<String>,
    pub(super) ignore: Ignore,
    pub(super) syncthing: watch::Receiver<State>,
    pub(super) state_tx: watch::Sender<Local>,
    pub(super) hold_file: HoldFile,
    pub(super) owed: Vec<Owed>,
    pub(super) lately: Arc<Lately>,
    pub(super) theirs: Arc<Theirs>,
    pub(super) edits: Arc<Edits>,
}

/// The folder's state.
pub(super) struct Owner {
    id: String,
    path: PathBuf,
    ground: Arc<Ground>,
    kept: PathBuf,
    syncthing: watch::Receiver<State>,
    state_tx: watch::Sender<Local>,
    /// Device to where it is dialled and the number of those who share with it.
    shares: BTreeMap<String, (watch::Receiver<SocketAddr>, usize)>,
    batch: Batch,
    /// Changes that are looked at later.
    gather: Gather,
    /// Deletions that a living container made and that are not applied yet.
    agreed: Agreed,
    /// What was taken out and waits now for a person: it is put back when its container is detached.
    owed: Vec<Owed>,
    /// Keeps both; those that wait for a person are in the state.
    hold_file: HoldFile,
    /// What was here lately.
    lately: Arc<Lately>,
    /// Told once the state says what the commands before them have changed.
    marks: Vec<oneshot::Sender<()>>,
    patterns: Patterns,
    /// The patterns when the folder was opened.
    ignore: Ignore,
    /// No scan before this time.
    hold: Option<Instant>,
    /// Conflict copies that syncthing made and that are not settled yet.
    conflicts: BTreeSet<String>,
    /// Scans that failed in a row.
    failures: u32,
    /// How long the last scan of everything took.
    whole: Duration,
    /// When the oldest of the changes that wait was noticed.
    noticed: Option<Instant>,
    theirs: Arc<Theirs>,
    /// Where changes that were made here are told.
    edits: Arc<Edits>,
    heard: Heard,
}

/// A scan that is over.
struct Landing {
    /// What was scanned; none means everything.
    subs: Vec<String>,
    took: Duration,
    /// The sequence of our index after it.
    sequence: Result<i64, syncthing::Error>,
    /// When a change that was noticed got so far.
    trip: Option<Trip>,
}
type Flight = JoinHandle<Landing>;

impl Owner {
    pub(super) fn new(start: Start) -> Self {
        Self {
            id: start.id,
            patterns: Patterns::new(&start.path, start.patterns),
            path: start.path,
            ground: start.ground,
            kept: start.kept,
            syncthing: start.syncthing,
            state_tx: start.state_tx,
            shares: BTreeMap::new(),
            batch: Batch::default(),
            gather: Gather::default(),
            agreed: Agreed::default(),
            owed: start.owed,
            hold_file: start.hold_file,
            lately: start.lately,
            marks: Vec::new(),
            ignore: start.ignore,
            hold: None,
            conflicts: BTreeSet::new(),
            failures: 0,
            whole: Duration::ZERO,
            noticed: None,
            theirs: start.theirs,
            edits: start.edits,
            heard: Heard::anew(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut notices: Notices,
        mut commands: mpsc::UnboundedReceiver<Command>,
        end: CancellationToken,
    ) {
        let mut running: Option<Arc<Running>> = None;
        let mut flight: Option<Flight> = None;
        let mut events: Option<mpsc::UnboundedReceiver<Event>> = None;
        let mut rescan = Instant::now();
        let mut changes: Option<mpsc::UnboundedReceiver<Event>> = None;
        let mut root_check = Instant::now();
        self.syncthing.mark_changed();
        // A watcher was killed before it had put it back. Nothing is attached yet.
        self.give_back().await;
        loop {
            let next_due = self.gather.next();
            let deletions_due = self.agreed.due();
            tokio::select! {
                () = end.cancelled() => break,
                changed = self.syncthing.changed() => {
                    if changed.is_err() { break }
                    let now = match &*self.syncthing.borrow_and_update() {
                        State::Up(now) => Some(Arc::clone(now)),
                        State::Down(_) => None,
                    };
                    flight = None;
                    (events, changes) = (None, None);
                    if running.take().is_some() {
                        self.heard = Heard::anew();
                    }
                    self.state_tx.send_modify(|s| s.process = 0);
                    if let Some(now) = now {
                        // Where this fails, the next look at the root begins again.
                        self.begin(&now).await;
                        events = Some(follow(now.client.clone(), "RemoteIndexUpdated", end.child_token()));
                        changes = Some(follow(now.client.clone(), "LocalChangeDetected", end.child_token()));
                        running = Some(now);
                    }
                }
                Some(command) = commands.recv() => self.obey(command, running.as_deref()).await,
                Some((at, notice)) = notices.rx.recv() => {
                    self.notice(at, notice);
                    self.hear(&mut notices);
                }
                () = sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {
                    // What was told meanwhile may settle it.
                    self.hear(&mut notices);
                    for (told, path) in self.gather.due(Instant::now()) {
                        self.changed(told, path);
                    }
                }
                () = sleep_until(self.hold.unwrap_or_else(Instant::now)), if self.hold.is_some() => {
                    self.hold = None;
                }
                () = sleep_until(deletions_due.unwrap_or_else(Instant::now)), if deletions_due.is_some() => {
                    self.agreed.looked();
                    self.delete(running.as_deref()).await;
                }
                () = sleep_until(rescan) => {
                    self.batch.add_all();
                    let least = if self.state_tx.borrow().unwatched { RESCAN_UNWATCHED } else { RESCAN };
                    rescan = Instant::now() + least.max(self.whole.saturating_mul(RESCAN_SHARE));
                }
                () = sleep_until(root_check) => {
                    if let Some(now) = &running {
                        self.look_at_root(now, &mut notices).await;
                    }
                    let gone = self.ground.check().is_err();
                    root_check = Instant::now() + if gone { ROOT_LOOK } else { ROOT_CHECK };
                }
                Some(event) = next(&mut events) => {
                    if matches!(event.what(), What::RemoteIndexUpdated { folder, .. } if folder == self.id) {
                        self.delete(running.as_deref()).await;
                    }
                }
                Some(event) = next(&mut changes) => self.found(&event),
                done = landed(&mut flight), if flight.is_some() => {
                    flight = None;
                    if done.sequence.is_ok() {
                        self.heard.scanned();
                    }
                    self.scanned(done);
                    self.delete(running.as_deref()).await;
                    self.settle_conflicts(running.as_deref()).await;
                }
            }
            if flight.is_none()
                && !self.batch.is_empty()
                && let Some(now) = &running
            {
                flight = self.launch(now, &mut notices).await;
                if flight.is_none() {
                    root_check = root_check.min(Instant::now() + ROOT_LOOK);
                }
            }
            let pending = flight.is_some() || !self.batch.is_empty() || self.gather.next().is_some();
            self.state_tx.send_if_modified(|s| std::mem::replace(&mut s.pending, pending) != pending);
            for mark in self.marks.drain(..) {
                // Whoever waited may have given up.
                let _ = mark.send(());
            }
        }
        self.close(running.as_deref()).await;
    }

    /// Takes the folder up in a syncthing process, after its root was found unchanged.
    async fn begin(&mut self, running: &Running) {
        if let Err(reason) = self.ground.check() {
            return self.fail(reason);
        }
        if let Err(error) = self.patterns.ensure() {
            return self.fail(ksync_common::chain(&error));
        }
        match self.put(running).await {
            Ok(()) => {
                self.failures = 0;
                self.batch.add_all();
                self.state_tx.send_modify(|s| {
                    s.process = running.number;
                    s.error = None;
                    s.pending = true;
                });
            }
            Err(error) => self.fail(ksync_common::chain(&error)),
        }
    }

    /// Stops the folder when the root is not the directory that it was, and takes it up again when it is, or when
    /// the directory was removed and made anew: that is what a person or a build has done, like any other change.
    /// Returns whether the folder stands on its root.
    async fn look_at_root(&mut self, running: &Running, notices: &mut Notices) -> bool {
        let stopped = self.state_tx.borrow().error.is_some();
        let mut looked = self.ground.check();
        if looked.is_err() {
            looked = self.succeed(notices).await;
        }
        if let Err(reason) = looked {
            // What is wrong may change: gone first, then another directory in its place.
            if self.state_tx.borrow().error.as_ref() != Some(&reason) {
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
        self.state_tx.borrow().error.is_none()
    }

    /// Goes on with the directory that was made anew; a sentence when there is none.
    async fn succeed(&mut self, notices: &mut Notices) -> Result<(), String> {
        if !self.ground.succeed().map_err(|error| ksync_common::chain(&error))? {
            return self.ground.check();
        }
        info!("the local path was made anew: going on with the new directory");
        let (path, ignore) = (self.path.clone(), self.ignore.clone());
        *notices = blocking::run(move || Notices::watch(&path, ignore))
            .await
            .map_err(|error| format!("watch `{}`: {error}", self.path.display()))?;
        self.state_tx.send_modify(|s| s.unwatched = false);
        // What came before the watch.
        self.batch.add_all();
        self.ground.check()
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
        for (id, (address, _)) in &self.shares {
            let mut device = node_at(id, address);
            if !known.contains(id) {
                held_back.push(device.clone());
                device.paused = true;
            }
            running.client.put_device(&device).await?;
        }
        let devices = self.shares.keys().map(String::as_str).chain([running.device_id.as_str()]);
        let mut folder = Folder::local(&self.id, &self.path.to_string_lossy()).shared_with(devices);
        // Un-pausing scans, and so does a change of devices: never over a root that is not the right one, or
        // without the patterns.
        folder.paused = self.ground.check().is_err() || self.patterns.are_missing();
        folder.case_sensitive_fs = self.ground.tells_names_apart();
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
                let entry = self.shares.entry(device).or_insert((address.clone(), 0));
                entry.1 += 1;
                let news = entry.1 == 1 || !entry.0.same_channel(&address);
                entry.0 = address;
                if news
                    && let Some(running) = running
                    && let Err(error) = self.put(running).await
                {
                    self.fail(ksync_common::chain(&error));
                }
                let _ = done.send(());
            }
            Command::Dial { device } => {
                if let (Some((address, _)), Some(running)) = (self.shares.get(&device), running)
                    && let Err(error) = running.client.put_device(&node_at(&device, address)).await
                {
                    warn!(error = ksync_common::chain(&error), "tell where a node is dialled");
                }
            }
            Command::Unshare { device } => {
                let Some(entry) = self.shares.get_mut(&device) else { return };
                entry.1 -= 1;
                if entry.1 > 0 {
                    return;
                }
                self.shares.remove(&device);
                if let Some(running) = running
                    && let Err(error) = self.unshare(running, &device).await
                {
                    self.fail(ksync_common::chain(&error));
                }
            }
            Command::Deleted { path, who } => self.deleted(path, who),
            // What waits for a person goes on waiting: it was asked about.
            Command::Restored { path } => self.agreed.remove(&path),
            Command::Detached => self.give_back().await,
            Command::Running { spec, containers } => {
                let runs = |who: &Who| who.spec != spec || containers.contains(&who.container);
                self.change_holds(|holds| holds.retain(|hold| runs(&hold.who)));
                if self.state_tx.borrow().holds.is_empty() {
                    self.give_back().await;
                }
            }
            Command::Answer { accept, done } => {
                self.give_back().await;
                let _ = done.send(self.answer(accept).await);
            }
            Command::Look { paths } if paths.is_empty() => self.batch.add_all(),
            Command::Look { paths } => paths.into_iter().for_each(|path| self.batch.add(path)),
            Command::Mark { done } => self.marks.push(done),
            Command::Exclude { paths, done } => {
                let _ = done.send(self.exclude(paths));
            }
        }
    }

    fn exclude(&mut self, paths: Vec<String>) -> Result<(), stignore::Error> {
        if self.patterns.exclude(paths)? {
            self.batch.add_all();
        }
        Ok(())
    }

    /// Starts a scan of what has gathered. Nothing is scanned while the root is not the one it was, or without the
    /// patterns: nothing would be left out.
    async fn launch(&mut self, running: &Running, notices: &mut Notices) -> Option<Flight> {
        if self.ground.check().is_err() && !self.look_at_root(running, notices).await {
            self.batch.take();
            return None;
        }
        match self.patterns.ensure() {
            Ok(hold) => self.hold = hold,
            Err(error) => {
                self.fail(ksync_common::chain(&error));
                // syncthing reads them itself, and pulls by them.
                self.pause(&running.client).await;
            }
        }
        if self.hold.is_some() || self.state_tx.borrow().error.is_some() {
            return None;
        }
        let subs = self.batch.take();
        debug!(?subs, "scan");
        let (client, id, number) = (running.client.clone(), self.id.clone(), running.number);
        let (root, lately) = (self.ground.root(), Arc::clone(&self.lately));
        let (noticed, posted) = (self.noticed.take(), Instant::now());
        Some(tokio::spawn(async move {
            let mut trip = None;
            let scan = async {
                let before = lately::look(&root, &subs);
                client.scan(&id, &subs).await?;
                trip = noticed.map(|noticed| Trip { noticed, posted, scanned: Instant::now() });
                let after = lately::look(&root, &subs);
                let sequence = client.folder_status(&id).await?.sequence;
                lately.scanned(&subs, before, after, Revision { process: number, sequence });
                Ok(sequence)
            };
            let sequence = scan.await;
            Landing { subs, took: posted.elapsed(), sequence, trip }
        }))
    }

    /// A scan that failed is made again: what it was to look at is not forgotten.
    fn scanned(&mut self, Landing { subs, took, sequence, trip }: Landing) {
        match sequence {
            Ok(sequence) => {
                self.failures = 0;
                if subs.is_empty() {
                    self.whole = took;
                }
                self.state_tx.send_modify(|s| {
                    // What was noticed and is no news is no edit.
                    if sequence > s.sequence {
                        s.trip = trip;
                    }
                    s.sequence = sequence;
                });
            }
            Err(error) => {
                debug!(%error, "scan");
                self.failures += 1;
                let again = Instant::now() + RETRY;
                let whole = subs.is_empty().then(String::new);
                for sub in subs.into_iter().chain(whole) {
                    self.gather.later(sub, again);
                }
                if self.failures >= FAILURES && !error.is_connection() {
                    self.fail(ksync_common::chain(&error));
                }
            }
        }
    }

    fn fail(&self, reason: String) {
        warn!(reason, "the local folder stands still");
        self.state_tx.send_modify(|s| s.error = Some(reason));
    }

    async fn close(&mut self, running: Option<&Running>) {
        self.give_back().await;
        if let Some(running) = running
            && let Err(error) = running.client.delete_folder(&self.id).await
        {
            debug!(%error, "remove the folder");
        }
        if let Err(error) = stignore::remove(&self.path) {
            warn!(error = ksync_common::chain(&error), "sweep the local path");
        }
    }
}

fn node_at(id: &str, address: &watch::Receiver<SocketAddr>) -> Device {
    Device::new(id, "node", Some(format!("tcp://{}", *address.borrow())))
}

async fn landed(flight: &mut Option<Flight>) -> Landing {
    match flight {
        Some(flight) => blocking::ended(flight.await),
        None => std::future::pending().await,
    }
}
