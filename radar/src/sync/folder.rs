//! A node's folder: one task that owns it from its first container to its end.
//!
//! Invariant: order is safety. The lead is bound before the folder is added; the folder is paused, then removed,
//! before the lead is unbound. The folder is receive-only until its client asks for more and syncthing finds nothing
//! missing. A paused folder is never resumed. When the lead's container ends, the pause is the very next thing.

use std::{path::PathBuf, sync::Arc};

use ksync_proto::radar::{AttachmentEnd, Role};
use syncthing::{Device, Folder as Config, FolderType, TypedEvent};
use tokio::sync::{broadcast::error::RecvError, mpsc, oneshot, watch as channel};
use tokio_util::sync::CancellationToken;

use crate::{
    container::{
        attachment::Attachment,
        mount::bind,
        watch::{self, Watch},
    },
    guards::{self, Guard},
    supervisor::{events::Heard, node_syncthing::NodeSyncthing},
    sync::{
        fanout::{self, Followers, Job, Queue, Target, Worker},
        root_check::{LeadRoot, RootLost},
        scan,
        session::Sink,
        stage_times::{Stage, StageTimes},
    },
};
use ksync_common::chain;

mod client_events;
mod command;
mod ending;
mod error;
mod left_out;
mod progress;
mod pull_errors;
mod report;
mod stop;
#[cfg(test)]
mod tests;

pub(crate) use command::{Command, Direction};
pub(crate) use error::Error;
pub(crate) use progress::Progress;
pub(crate) use report::{Over, Report, Reports};

use ending::{Ending, Lost};

/// How often the root is checked without any event.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// How others reach a folder.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    /// Commands. registry and handlers --commands_tx--> the folder's task. Without a bound: the registry never waits, and
    /// each call of a client has at most one command on its way.
    pub(crate) commands_tx: mpsc::UnboundedSender<Command>,
    /// What can be asked without the task.
    pub(crate) progress: Progress,
    /// Cancelled when everything is removed and unbound.
    pub(crate) done: CancellationToken,
}

/// What a folder starts from.
pub(crate) struct Start {
    /// The first container, which becomes the lead.
    pub(crate) lead: Arc<Attachment>,
    /// Device id of the client.
    pub(crate) device: String,
    /// The node's syncthing.
    pub(crate) syncthing: Arc<NodeSyncthing>,
    /// Where the folder is to be in syncthing's view.
    pub(crate) mount_point: PathBuf,
    /// Who is told what happens.
    pub(crate) sink: Sink,
    /// The registry. folder --reports--> registry.
    pub(crate) reports: Reports,
    /// An earlier folder of the same id, whose end is waited for.
    pub(crate) after: Option<CancellationToken>,
}

struct Folder {
    id: String,
    device: String,
    lead_root: LeadRoot,
    followers: Followers,
    aliases: Vec<Arc<Attachment>>,
    sink: Sink,
    reports: Reports,
    progress: Progress,
    sending: Sending,
    /// Whether it ever was two-way.
    keeps_losers: bool,
    queue: Queue,
    advances_tx: channel::Sender<u64>,
    busy_tx: channel::Sender<bool>,
    seen_tx: channel::Sender<u64>,
    stage_times: StageTimes,
    lost_rx: oneshot::Receiver<RootLost>,
    watch: Option<Watch>,
}

/// Which way changes go, as far as is known of syncthing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// It takes and never gives.
    Off,
    /// It was asked to give too, and did not confirm it: it may.
    Unconfirmed,
    /// It gives too.
    On,
}

/// Starts the task of a folder. Nothing is bound before the first [`Command::Join`].
pub(crate) fn spawn(start: Start) -> Handle {
    let (commands_tx, commands_rx) = mpsc::unbounded_channel();
    let (advances_tx, advances_rx) = channel::channel(0);
    let (busy_tx, busy_rx) = channel::channel(false);
    let (seen_tx, seen_rx) = channel::channel(0);
    let stage_times = StageTimes::default();
    let followers = Followers::default();
    let id = start.lead.claim.folder.clone();
    let lead_root = LeadRoot { lead: start.lead, syncthing: start.syncthing, mount_point: start.mount_point };
    let queue = Worker {
        lead_root: lead_root.clone(),
        followers: Arc::clone(&followers),
        folder: id.clone(),
        sink: start.sink.clone(),
        advances_tx: advances_tx.clone(),
        stage_times: stage_times.clone(),
    }
    .spawn();
    let progress = Progress {
        id: id.clone(),
        device: start.device.clone(),
        syncthing: Arc::clone(&lead_root.syncthing),
        lead: Arc::clone(&lead_root.lead),
        followers: Arc::clone(&followers),
        queue: queue.clone(),
        advances_rx,
        busy_rx,
        seen_rx,
        failing: Arc::default(),
        stage_times: stage_times.clone(),
    };
    let done = CancellationToken::new();
    let handle = Handle { commands_tx, progress: progress.clone(), done: done.clone() };
    let (lost_tx, lost_rx) = oneshot::channel();
    let folder = Folder {
        id,
        device: start.device,
        lead_root,
        followers,
        aliases: Vec::new(),
        sink: start.sink,
        reports: start.reports,
        progress,
        sending: Sending::Off,
        keeps_losers: false,
        queue,
        advances_tx,
        busy_tx,
        seen_tx,
        stage_times,
        lost_rx,
        watch: None,
    };
    let after = start.after;
    tokio::spawn(async move {
        if let Some(after) = after {
            after.cancelled().await;
        }
        folder.live(commands_rx, lost_tx).await;
        done.cancel();
    });
    handle
}

impl Folder {
    async fn live(
        mut self,
        mut commands_rx: mpsc::UnboundedReceiver<Command>,
        lost_tx: oneshot::Sender<RootLost>,
    ) {
        // The first command is the lead's joining, because that is what a folder is made for.
        let Some(Command::Join(_, reply)) = commands_rx.recv().await else {
            return self.over(Vec::new());
        };
        // Heard from here on, so that nothing of the folder's first moments is missed.
        let heard_rx = self.lead_root.syncthing.heard.subscribe();
        let pause = stop::pause_at_exit(&self.lead_root, &self.id);
        let ending = match self.take_up(lost_tx).await {
            Ok(()) => {
                let joined = reply.send(Ok(Role::Lead));
                if joined.is_err() { self.unwanted() } else { self.run(&mut commands_rx, heard_rx).await }
            }
            Err(error) => {
                let reason = chain(&error);
                drop(reply.send(Err(error)));
                Ending { why: AttachmentEnd::RootChanged, reason, lost: Lost::Lead }
            }
        };
        self.watch = None;
        stop::stop(&self.lead_root, &self.id).await;
        pause.abort();
        let followers = fanout::snapshot(&self.followers);
        // A connection that broke in the middle of a file leaves its beginning there.
        for attachment in std::iter::once(&self.lead_root.lead).chain(&followers) {
            if attachment.life.alive() {
                pull_errors::sweep(attachment).await;
            }
        }
        self.over(ending.farewell(&self.lead_root.lead, followers.iter().chain(&self.aliases)));
        // Whoever still waits for an answer gets none, but not before all is done.
        commands_rx.close();
        while let Some(command) = commands_rx.recv().await {
            ending.answer(command);
        }
    }

    fn unwanted(&self) -> Ending {
        let reason = format!("nobody waited for folder `{}` any more", self.id);
        Ending { why: AttachmentEnd::LeadLost, reason, lost: Lost::Lead }
    }

    /// Binds the lead, then adds the folder: device first, receive-only, watched before it is scanned.
    async fn take_up(&mut self, lost_tx: oneshot::Sender<RootLost>) -> Result<(), Error> {
        let (lead, syncthing) = (Arc::clone(&self.lead_root.lead), Arc::clone(&self.lead_root.syncthing));
        let tree = lead.take_tree().ok_or_else(|| Error::JoinedBefore { attachment: lead.id.clone() })?;
        let mount_point = &self.lead_root.mount_point;
        bind::bind(tree, syncthing.supervisor_pid, mount_point, lead.about.excluded(), lead.claim.identity)
            .await?;
        pull_errors::sweep(&lead).await;
        let (changes_tx, changes_rx) = mpsc::channel(watch::BACKLOG);
        let root = lead.root.try_clone()?;
        let excluded = lead.about.excluded();
        // The patterns are known by now: a client lists before it joins.
        let patterns = Arc::clone(&lead);
        let idle: watch::Idle = Box::new(move |path| patterns.is_idle_at(path));
        let start =
            move || Watch::start(root, excluded, idle, watch::share(), watch::Writer::Syncthing, changes_tx);
        let watch = tokio::task::spawn_blocking(start).await;
        let watch = watch.map_err(|error| Error::WatchTask { reason: error.to_string() })?;
        self.watch = Some(watch?);
        self.lead_root.check().await?;
        let device = Device::new(&self.device, &lead.claim.holder, None);
        syncthing.client.put_device(&device).await?;
        let config = self.config();
        syncthing.client.put_folder(&config).await?;
        // Receive-only and with a fresh database, so a container that ended just now did no harm.
        self.lead_root.check().await?;
        tokio::spawn(scan::run(self.lead_root.clone(), self.id.clone(), changes_rx, lost_tx));
        Ok(())
    }

    /// The folder as it is added: receive-only.
    fn config(&self) -> Config {
        let config = Config::node(&self.id, &self.lead_root.mount_point.to_string_lossy());
        let kind = if guards::on(Guard::ReceiveOnly) { config.kind } else { FolderType::SendReceive };
        let min_disk_free = pull_errors::min_disk_free(&self.lead_root.lead.root);
        // It was tried when the directory was attached. A volume inside it may be of another kind.
        let about = &self.lead_root.lead.about;
        let whole = about.submounts.iter().all(|submount| submount.excluded.is_some());
        let case_sensitive_fs = whole && !about.case_insensitive;
        Config { kind, min_disk_free, case_sensitive_fs, ..config.shared_with([self.device.as_str()]) }
    }

    async fn run(
        &mut self,
        commands_rx: &mut mpsc::UnboundedReceiver<Command>,
        mut heard_rx: tokio::sync::broadcast::Receiver<Heard>,
    ) -> Ending {
        let exited = self.lead_root.lead.life.exited();
        let gone = self.lead_root.syncthing.lost.clone();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                biased;
                () = exited.cancelled() => return RootLost::Exited.into(),
                () = gone.cancelled() => return Ending {
                    why: AttachmentEnd::SyncthingLost,
                    reason: "the node's syncthing restarted".to_owned(),
                    lost: Lost::Folder,
                },
                lost = &mut self.lost_rx => return lost.unwrap_or_else(|_| {
                    RootLost::Changed("the folder's scanner ended".to_owned())
                }).into(),
                command = commands_rx.recv() => match command {
                    Some(command) => if let Some(ending) = self.obey(command).await {
                        return ending;
                    },
                    None => return self.unwanted(),
                },
                heard = heard_rx.recv() => match heard {
                    Ok(Heard::Event(id, what)) => self.hear(id, what),
                    Ok(Heard::Gap) | Err(RecvError::Lagged(_)) => {
                        self.busy_tx.send_replace(false);
                        self.queue.push(Job::Reconcile(Target::All));
                        client_events::missed(&self.sink, &self.lead_root.lead.id);
                    }
                    Err(RecvError::Closed) => {}
                },
                _ = look.tick() => if let Err(lost) = self.lead_root.check().await {
                    return lost.into();
                },
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Option<Ending> {
        match command {
            Command::Join(attachment, reply) => {
                let role = self.join(attachment);
                drop(reply.send(Ok(role)));
                None
            }
            Command::Leave(id, reply) if id == self.lead_root.lead.id => {
                // Answered when all is done: the sender is kept until then.
                let reason = "its folder's lead was detached".to_owned();
                self.watch = None;
                stop::stop(&self.lead_root, &self.id).await;
                let _ = reply.send(());
                Some(Ending { why: AttachmentEnd::LeadLost, reason, lost: Lost::Lead })
            }
            Command::Leave(id, reply) => {
                self.leave(&id);
                let _ = reply.send(());
                None
            }
            Command::SetDirection(direction, reply) => {
                let done = self.set_direction(direction).await;
                // One that can't be held back from sending is ended.
                let ending =
                    done.as_ref().err().filter(|_| direction == Direction::ToContainer).map(|error| Ending {
                        why: AttachmentEnd::LeadLost,
                        reason: format!("it could not be made receive-only: {}", chain(error)),
                        lost: Lost::Lead,
                    });
                drop(reply.send(done));
                ending
            }
            Command::End(why, reason) => Some(Ending { why, reason, lost: Lost::Folder }),
        }
    }

    fn join(&mut self, attachment: Arc<Attachment>) -> Role {
        let followers = fanout::snapshot(&self.followers);
        if attachment.id == self.lead_root.lead.id {
            return Role::Lead;
        }
        if followers.iter().any(|f| f.id == attachment.id) {
            return Role::Follower;
        }
        let identity = attachment.claim.identity;
        let shared =
            std::iter::once(&self.lead_root.lead).chain(&followers).any(|a| a.claim.identity == identity);
        if shared {
            if !self.aliases.iter().any(|a| a.id == attachment.id) {
                self.aliases.push(attachment);
            }
            return Role::Alias;
        }
        let id = attachment.id.clone();
        self.with_followers(|followers| followers.push(attachment));
        // What the lead got since this one was made equal.
        self.queue.push(Job::Reconcile(Target::One(id)));
        Role::Follower
    }

    fn leave(&mut self, id: &str) {
        let left = fanout::snapshot(&self.followers).into_iter().find(|f| f.id == id);
        self.with_followers(|followers| followers.retain(|f| f.id != id));
        self.aliases.retain(|a| a.id != id);
        // The first container that shares its directory follows in its place.
        let heir = left.and_then(|left| {
            let same = |a: &Arc<Attachment>| a.claim.identity == left.claim.identity;
            self.aliases.iter().position(same).map(|at| self.aliases.remove(at))
        });
        if let Some(heir) = heir {
            let joined = Report::Joined { attachment: heir.id.clone(), role: Role::Follower };
            self.with_followers(|followers| followers.push(heir));
            self.reports.tell(joined);
        }
    }

    fn with_followers(&self, change: impl FnOnce(&mut Vec<Arc<Attachment>>)) {
        change(&mut self.followers.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    async fn set_direction(&mut self, direction: Direction) -> Result<(), Error> {
        let kind = match direction {
            Direction::ToContainer if self.sending == Sending::Off => return Ok(()),
            Direction::ToContainer => FolderType::ReceiveOnly,
            Direction::Both => {
                self.lead_root.check().await?;
                let now = self.progress.status().await?;
                let stays = self.progress.failed(&now).await?.stays;
                let lacks = progress::not_proven(&now, stays);
                if let Some(reason) = lacks.filter(|_| guards::on(Guard::ReceiveOnly)) {
                    return Err(Error::NotProven { folder: self.id.clone(), reason });
                }
                if self.sending == Sending::Off {
                    self.sending = Sending::Unconfirmed;
                }
                FolderType::SendReceive
            }
        };
        let client = &self.lead_root.syncthing.client;
        // The loser of a conflict stays, beside the winner, until the client has brought it to safety; also when the
        // direction is taken back, because what comes from the client may still win.
        self.keeps_losers |= direction == Direction::Both;
        let max_conflicts = if self.keeps_losers { -1 } else { 0 };
        // Put as a whole: a change of single keys would bring back syncthing's defaults for the others, its own
        // watcher and its own rescans among them.
        client.put_folder(&Config { kind, max_conflicts, ..self.config() }).await?;
        self.sending = match direction {
            Direction::ToContainer => Sending::Off,
            Direction::Both => Sending::On,
        };
        // The guard may have paused it between syncthing's reading and writing of the configuration.
        if !self.lead_root.lead.life.alive() {
            stop::pause(&self.lead_root.syncthing, &self.id).await;
        }
        Ok(())
    }

    fn hear(&mut self, id: u64, event: TypedEvent) {
        let news = match event {
            TypedEvent::ItemFinished { folder, item, action, error, .. } if folder == self.id => {
                self.stage_times.note(Stage::Finished);
                client_events::item(&self.sink, &self.lead_root.lead.id, &item, &action, error.as_deref());
                match error {
                    Some(error) => {
                        pull_errors::remove_unfinished(&self.lead_root.lead, &item, &error);
                        if action == "delete" {
                            left_out::clear(&self.lead_root, &self.id, &item, &error);
                        }
                    }
                    None => self.queue_change(item, &action),
                }
                false
            }
            TypedEvent::LocalChange { folder, path, kind, action } if folder == self.id => {
                let lead = &self.lead_root.lead;
                // A conflict copy is for the client, not for the followers.
                let beaten = syncthing::conflict::lost_to(&path, &self.device);
                if self.sending == Sending::On && lead.life.alive() && (beaten || !lead.leaves_out(&path)) {
                    client_events::change(&self.sink, &lead.id, &path, &action, &kind);
                    if action == "deleted" {
                        self.queue_change(path, "delete");
                    } else if !beaten {
                        self.queue_change(path, "update");
                    }
                }
                false
            }
            TypedEvent::StateChanged { folder, to, .. } if folder == self.id => {
                let rests = matches!(to.as_str(), "idle" | "error" | "");
                self.busy_tx.send_replace(!rests);
                rests
            }
            TypedEvent::RemoteIndexUpdated { folder, .. } if folder == self.id => {
                self.stage_times.note(Stage::Index);
                true
            }
            // Errors, most of all, and connections.
            TypedEvent::Other
            | TypedEvent::DeviceConnected { .. }
            | TypedEvent::DeviceDisconnected { .. } => true,
            _ => false,
        };
        self.seen_tx.send_replace(id);
        if news {
            self.advances_tx.send_modify(|n| *n += 1);
        }
    }

    fn queue_change(&self, path: String, action: &str) {
        if self.lead_root.lead.leaves_out(&path) || fanout::snapshot(&self.followers).is_empty() {
            return;
        }
        self.queue.push(match action {
            "delete" => Job::Remove { path },
            action => Job::Copy { path, action: action.to_owned() },
        });
    }

    fn over(&self, attachments: Vec<Over>) {
        self.reports.tell(Report::Over { folder: self.progress.clone(), attachments });
    }
}
