//! The registry's data and what each command does to it.
//!
//! Invariant: an attachment belongs to a session that is open or in its grace; a folder's attachments are all of
//! one session.

use std::{collections::HashMap, sync::Arc};

use ksync_proto::radar::{AttachmentEnd, Role, SessionEvent};
use syncthing::Device;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::Status;

use super::{Command, GRACE, Over, Reply};
use crate::{
    container::attachment::Attachment,
    paths::Paths,
    supervisor::node_syncthing::{NodeSyncthing, NodeSyncthingRx},
    sync::{
        folder::{self, view::View},
        session::{Hello, Opening, Session, Sink, opening},
    },
};

/// A held attachment.
pub(super) struct Held {
    pub(super) attachment: Arc<Attachment>,
    /// Whether it was put under its folder.
    pub(super) joined: bool,
    /// Epoch of the stream that attached it last.
    pub(super) epoch: u64,
    /// The id that the call which attached it last came with.
    pub(super) call: String,
    /// What it is there.
    pub(super) role: Option<Role>,
    /// Waits for the container's end.
    pub(super) _exit: AbortOnDropHandle<()>,
}

/// A folder's task.
pub(super) struct Running {
    pub(super) handle: folder::Handle,
    /// Whether it was told to end.
    pub(super) ending: bool,
}

pub(super) struct State {
    pub(super) commands_tx: mpsc::UnboundedSender<Command>,
    pub(super) syncthing_rx: NodeSyncthingRx,
    pub(super) paths: Paths,
    pub(super) sessions: HashMap<String, Session>,
    pub(super) attachments: HashMap<String, Held>,
    pub(super) folders: HashMap<String, Running>,
    stopping: bool,
}

impl State {
    pub(super) fn new(
        commands_tx: mpsc::UnboundedSender<Command>,
        syncthing_rx: NodeSyncthingRx,
        paths: Paths,
    ) -> Self {
        Self {
            commands_tx,
            syncthing_rx,
            paths,
            sessions: HashMap::new(),
            attachments: HashMap::new(),
            folders: HashMap::new(),
            stopping: false,
        }
    }

    /// Obeys. An answer that nobody waits for any more is dropped.
    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::Open(hello, events_tx, reply) => drop(reply.send(self.open(hello, events_tx))),
            Command::StreamLost(session, epoch) => self.stream_lost(&session, epoch),
            Command::GraceOver(session, epoch) => {
                let over = self.sessions.get(&session).is_some_and(|s| !s.open && s.hello.epoch == epoch);
                if over {
                    tracing::info!(session, "the session's grace is over");
                    self.end_session(&session, "the session's grace is over");
                }
            }
            Command::Holder(session, reply) => {
                drop(reply.send(self.session(&session).map(|s| s.hello.holder.clone())));
            }
            Command::Uses(device, reply) => {
                drop(reply.send(Ok(self.sessions.values().any(|s| s.hello.device == device))));
            }
            Command::Attach(attachment, take_over, reply) => self.attach(*attachment, take_over, reply),
            Command::RoleOf(id, reply) => {
                drop(reply.send(Ok(self.attachments.get(&id).and_then(|held| held.role))));
            }
            Command::Joined(id, role) => {
                if let Some(held) = self.attachments.get_mut(&id) {
                    held.role = Some(role);
                }
            }
            Command::Find(session, id, reply) => drop(reply.send(self.find(&session, &id))),
            Command::Join(session, id, reply) => self.join(&session, &id, reply),
            Command::Detach(session, id, reply) => self.detach(&session, &id, reply),
            Command::Folder(session, id, reply) => drop(reply.send(self.folder(&session, &id))),
            Command::Unheard(session, call) => self.unheard(&session, &call),
            Command::Exited(id) => self.exited(&id),
            Command::FolderOver { folder, attachments } => self.folder_over(&folder, attachments),
            Command::Shutdown(done) => self.shutdown(done),
        }
    }

    pub(super) fn session(&self, id: &str) -> Result<&Session, Status> {
        self.sessions
            .get(id)
            .ok_or_else(|| Status::failed_precondition(format!("session `{id}` is not open")))
    }

    pub(super) fn node_syncthing(&self) -> Result<Arc<NodeSyncthing>, Status> {
        self.syncthing_rx
            .borrow()
            .clone()
            .ok_or_else(|| Status::failed_precondition("the node's syncthing is not there yet"))
    }

    /// Where a session's events go; nowhere when it is gone.
    pub(super) fn sink(&self, session: &str) -> Sink {
        self.sessions.get(session).map(|s| s.sink.clone()).unwrap_or_default()
    }

    fn open(&mut self, hello: Hello, events_tx: mpsc::Sender<SessionEvent>) -> Result<(), Status> {
        if self.stopping {
            return Err(Status::unavailable("radar is stopping"));
        }
        let existing = self.sessions.get(&hello.session).map(|s| &s.hello);
        match opening(existing, &hello) {
            Opening::Stale => {
                let now = existing.map_or(0, |old| old.epoch);
                return Err(Status::aborted(format!(
                    "session `{}` is held by epoch {now}, which is not older than {}",
                    hello.session, hello.epoch
                )));
            }
            Opening::Renewed => self.end_session(&hello.session, "the session starts over"),
            Opening::Supersedes => self.to_receive_only(&hello.session),
            Opening::New => {}
        }
        tracing::info!(session = hello.session, epoch = hello.epoch, holder = hello.holder, "session open");
        let session = self.sessions.entry(hello.session.clone()).or_insert_with(|| Session {
            hello: hello.clone(),
            sink: Sink::default(),
            open: true,
        });
        session.sink.switch(Some(events_tx), "a newer stream of the session took over");
        session.hello = hello;
        session.open = true;
        Ok(())
    }

    /// Two-way is only what the present stream of a session has asked for.
    fn to_receive_only(&self, session: &str) {
        for running in self.folders.values().filter(|r| r.handle.view.session() == session) {
            // The folder itself says what went wrong, and ends then; one that has ended is not two-way.
            let back = folder::Command::SetDirection(folder::Direction::ToContainer, oneshot::channel().0);
            drop(running.handle.commands_tx.send(back));
        }
    }

    fn stream_lost(&mut self, id: &str, epoch: u64) {
        let Some(session) = self.sessions.get_mut(id).filter(|s| s.open && s.hello.epoch == epoch) else {
            return;
        };
        tracing::info!(session = id, epoch, "the session's stream is gone");
        session.open = false;
        session.sink.switch(None, "");
        let (commands_tx, id) = (self.commands_tx.clone(), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            // The registry is gone when radar stops.
            drop(commands_tx.send(Command::GraceOver(id, epoch)));
        });
    }

    /// Lets go of all that a session holds, and of its device after that.
    fn end_session(&mut self, id: &str, reason: &str) {
        let Some(session) = self.sessions.remove(id) else { return };
        session.sink.switch(None, reason);
        let done = self.end_folders(reason, |view| view.session() == id);
        self.attachments.retain(|_, held| held.attachment.claim.session != id);
        if let Ok(syncthing) = self.node_syncthing() {
            let (commands_tx, device) = (self.commands_tx.clone(), session.hello.device);
            tokio::spawn(async move {
                for done in done {
                    done.cancelled().await;
                }
                forget(&syncthing, &commands_tx, device).await;
            });
        }
    }

    fn end_folders(&mut self, reason: &str, which: impl Fn(&View) -> bool) -> Vec<CancellationToken> {
        let chosen = self.folders.values_mut().filter(|running| which(&running.handle.view));
        chosen
            .map(|running| {
                running.ending = true;
                let end = folder::Command::End(AttachmentEnd::TakenOver, reason.to_owned());
                // One that has ended has done what it is told.
                drop(running.handle.commands_tx.send(end));
                running.handle.done.clone()
            })
            .collect()
    }

    fn folder(&self, session: &str, id: &str) -> Result<folder::Handle, Status> {
        self.session(session)?;
        let running = self.folders.get(id).filter(|r| !r.ending && r.handle.view.session() == session);
        running.map(|r| r.handle.clone()).ok_or_else(|| {
            Status::not_found(format!("folder `{id}` has no container on this node: attach and join first"))
        })
    }

    fn folder_over(&mut self, folder: &View, attachments: Vec<Over>) {
        if self.folders.get(folder.id()).is_some_and(|r| r.handle.view.lead() == folder.lead()) {
            self.folders.remove(folder.id());
        }
        for Over { attachment, why, reason } in attachments {
            // One that was let go of before is not news.
            if let Some(held) = self.attachments.remove(&attachment) {
                tracing::info!(attachment, why = why.as_str_name(), reason, "attachment ended");
                self.sink(&held.attachment.claim.session).ended(&attachment, why, reason);
            }
        }
    }

    /// syncthing came or went. Folders notice its end by themselves; a new one has to know the clients.
    pub(super) fn syncthing_changed(&mut self) {
        let Ok(syncthing) = self.node_syncthing() else { return };
        for session in self.sessions.values() {
            let device = Device::new(&session.hello.device, &session.hello.holder, None);
            let syncthing = Arc::clone(&syncthing);
            tokio::spawn(async move {
                if let Err(error) = syncthing.client.put_device(&device).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "add a client's device");
                }
            });
        }
    }

    fn shutdown(&mut self, all_done: oneshot::Sender<()>) {
        self.stopping = true;
        for session in self.sessions.values() {
            session.sink.switch(None, "radar stops");
        }
        let done = self.end_folders("radar stops", |_| true);
        self.sessions.clear();
        self.attachments.clear();
        tokio::spawn(async move {
            for done in done {
                done.cancelled().await;
            }
            let _ = all_done.send(());
        });
    }
}

/// Removes a client's device, unless a session has it (again).
async fn forget(syncthing: &NodeSyncthing, commands_tx: &mpsc::UnboundedSender<Command>, device: String) {
    // Whoever opens a session meanwhile adds its device after this.
    let _turn = syncthing.devices.lock().await;
    let (used_tx, used_rx) = oneshot::channel();
    // The registry is gone when radar stops, and syncthing's configuration with it.
    drop(commands_tx.send(Command::Uses(device.clone(), used_tx)));
    if let Ok(Ok(false)) = used_rx.await
        && let Err(error) = syncthing.client.delete_device(&device).await
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "forget a client's device");
    }
}

/// Sends an answer once all that it depends on is over.
pub(super) fn answer_after<T: Send + 'static>(
    wait: Vec<oneshot::Receiver<()>>,
    reply: Reply<T>,
    answer: Result<T, Status>,
) {
    tokio::spawn(async move {
        for over in wait {
            // A sender that was dropped belongs to a folder that has ended.
            drop(over.await);
        }
        drop(reply.send(answer));
    });
}
