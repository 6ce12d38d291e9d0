//! The registry's data and what each command does to it.
//!
//! Invariant: an attachment belongs to a session that is open or in its grace; a folder's attachments are all of
//! one session.

use std::{collections::HashMap, sync::Arc};

use ksync_proto::radar::{AttachmentEnd, Role, SessionEvent};
use syncthing::Device;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    command::{Command, IfHeld, Reply},
    error::Error,
    held::{self, Claimed, Held},
};
use crate::{
    container::attachment::Attachment,
    paths::Paths,
    supervisor::node_syncthing::{NodeSyncthing, NodeSyncthingRx},
    sync::{
        folder::{self, Direction, Over, Progress, Report, Reports, Start},
        session::{GRACE, Hello, Opening, Session, Sink, opening},
    },
};

/// A folder's task.
struct Running {
    handle: folder::Handle,
    /// Whether it was told to end.
    ending: bool,
}

pub(super) struct State {
    commands_tx: mpsc::UnboundedSender<Command>,
    syncthing_rx: NodeSyncthingRx,
    paths: Paths,
    sessions: HashMap<String, Session>,
    attachments: HashMap<String, Held>,
    folders: HashMap<String, Running>,
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
            Command::Attach(attachment, if_held, reply) => self.attach(*attachment, if_held, reply),
            Command::Role(id, reply) => {
                drop(reply.send(Ok(self.attachments.get(&id).and_then(|held| held.role))));
            }
            Command::FolderReport(Report::Joined { attachment, role }) => {
                if let Some(held) = self.attachments.get_mut(&attachment) {
                    held.role = Some(role);
                }
            }
            Command::FolderReport(Report::Over { folder, attachments }) => {
                self.folder_over(&folder, attachments);
            }
            Command::Find(session, id, reply) => drop(reply.send(self.find(&session, &id))),
            Command::Join(session, id, reply) => self.join(&session, &id, reply),
            Command::Detach(session, id, reply) => self.detach(&session, &id, reply),
            Command::Folder(session, id, reply) => drop(reply.send(self.folder(&session, &id))),
            Command::Unheard(session, call) => self.unheard(&session, &call),
            Command::Exited(id) => self.exited(&id),
            Command::Shutdown(done) => self.shutdown(done),
        }
    }

    fn session(&self, id: &str) -> Result<&Session, Error> {
        self.sessions.get(id).ok_or_else(|| Error::NoSession { session: id.to_owned() })
    }

    fn node_syncthing(&self) -> Result<Arc<NodeSyncthing>, Error> {
        self.syncthing_rx.borrow().clone().ok_or(Error::NoSyncthing)
    }

    /// Where a session's events go; nowhere when it is gone.
    fn sink(&self, session: &str) -> Sink {
        self.sessions.get(session).map(|s| s.sink.clone()).unwrap_or_default()
    }

    fn open(&mut self, hello: Hello, events_tx: mpsc::Sender<SessionEvent>) -> Result<(), Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        let existing = self.sessions.get(&hello.session).map(|s| &s.hello);
        match opening(existing, &hello) {
            Opening::Stale => {
                let newest = existing.map_or(0, |old| old.epoch);
                return Err(Error::StaleEpoch { session: hello.session, newest, epoch: hello.epoch });
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
        for running in self.folders.values().filter(|r| r.handle.progress.session() == session) {
            // The folder itself says what went wrong, and ends then; one that has ended is not two-way.
            let back = folder::Command::SetDirection(Direction::ToContainer, oneshot::channel().0);
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
        let done = self.end_folders(reason, |folder| folder.session() == id);
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

    fn end_folders(&mut self, reason: &str, which: impl Fn(&Progress) -> bool) -> Vec<CancellationToken> {
        let chosen = self.folders.values_mut().filter(|running| which(&running.handle.progress));
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

    fn folder(&self, session: &str, id: &str) -> Result<folder::Handle, Error> {
        self.session(session)?;
        let running = self.folders.get(id).filter(|r| !r.ending && r.handle.progress.session() == session);
        running.map(|r| r.handle.clone()).ok_or_else(|| Error::NoFolder { folder: id.to_owned() })
    }

    fn folder_over(&mut self, folder: &Progress, attachments: Vec<Over>) {
        if self.folders.get(folder.id()).is_some_and(|r| r.handle.progress.lead() == folder.lead()) {
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

    fn attach(&mut self, attachment: Attachment, if_held: IfHeld, reply: Reply<Arc<Attachment>>) {
        match self.claim(&attachment, if_held) {
            Ok(Claimed::Existing(id)) => self.attach_again(&id, &attachment.id, reply),
            Ok(Claimed::Free(taken)) => {
                let mut wait = Vec::new();
                for id in taken {
                    let other = self.attachments.get(&id).map(|held| held.attachment.claim.session.clone());
                    if other.is_some_and(|other| other != attachment.claim.session) {
                        let reason = format!("taken over by {}", attachment.claim.holder);
                        self.tell_ended(&id, AttachmentEnd::TakenOver, &reason);
                    } else {
                        self.tell_ended(&id, AttachmentEnd::RootChanged, "it was attached anew");
                    }
                    wait.extend(self.let_go(&id));
                }
                let held = self.hold(attachment);
                answer_after(wait, reply, Ok(held));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// A reconnect. A folder that was two-way is not any more when this is answered.
    fn attach_again(&mut self, id: &str, call: &str, reply: Reply<Arc<Attachment>>) {
        let Some(held) = self.attachments.get_mut(id) else {
            return drop(reply.send(Err(Error::AttachmentEnded)));
        };
        if let Some(session) = self.sessions.get(&held.attachment.claim.session) {
            held.epoch = session.hello.epoch;
            call.clone_into(&mut held.call);
        }
        let attachment = Arc::clone(&held.attachment);
        let folder = self.folders.get(&attachment.claim.folder).filter(|_| held.joined);
        let Some(running) = folder.filter(|running| running.handle.progress.lead() == id) else {
            return drop(reply.send(Ok(attachment)));
        };
        let (done_tx, done_rx) = oneshot::channel();
        // A folder that has ended drops the sender, which is answered below.
        drop(running.handle.commands_tx.send(folder::Command::SetDirection(Direction::ToContainer, done_tx)));
        tokio::spawn(async move {
            let done = done_rx.await.map_or(Err(Error::FolderEnded), |done| done.map_err(Error::from));
            drop(reply.send(done.map(|()| attachment)));
        });
    }

    fn claim(&self, attachment: &Attachment, if_held: IfHeld) -> Result<Claimed, Error> {
        let wanted = &attachment.claim;
        let epoch = self.session(&wanted.session)?.hello.epoch;
        if let Some(running) = self.folders.get(&wanted.folder)
            && running.handle.progress.session() != wanted.session
        {
            return Err(Error::FolderTaken { folder: wanted.folder.clone() });
        }
        held::claim(&self.attachments, wanted, epoch, if_held)
    }

    fn hold(&mut self, attachment: Attachment) -> Arc<Attachment> {
        let attachment = Arc::new(attachment);
        let (exited, id) = (attachment.life.exited(), attachment.id.clone());
        let commands_tx = self.commands_tx.clone();
        let exit = AbortOnDropHandle::new(tokio::spawn(async move {
            exited.cancelled().await;
            // The registry is gone when radar stops.
            drop(commands_tx.send(Command::Exited(id)));
        }));
        let claim = &attachment.claim;
        let epoch = self.sessions.get(&claim.session).map_or(0, |session| session.hello.epoch);
        tracing::info!(
            attachment = attachment.id,
            container = %claim.container,
            path = claim.path,
            holder = claim.holder,
            "attached"
        );
        let held = Held {
            attachment: Arc::clone(&attachment),
            epoch,
            call: attachment.id.clone(),
            joined: false,
            role: None,
            _exit: exit,
            _let_go: attachment.let_go.clone().drop_guard(),
        };
        self.attachments.insert(attachment.id.clone(), held);
        attachment
    }

    fn find(&self, session: &str, id: &str) -> Result<Arc<Attachment>, Error> {
        self.session(session)?;
        let held = self.attachments.get(id).filter(|held| held.attachment.claim.session == session);
        held.map(|held| Arc::clone(&held.attachment))
            .ok_or_else(|| Error::NotHeld { attachment: id.to_owned() })
    }

    fn join(&mut self, session: &str, id: &str, reply: Reply<Role>) {
        let (attachment, syncthing) = match (self.find(session, id), self.node_syncthing()) {
            (Ok(attachment), Ok(syncthing)) => (attachment, syncthing),
            (Err(error), _) | (_, Err(error)) => return drop(reply.send(Err(error))),
        };
        let device = match self.session(session) {
            Ok(session) => session.hello.device.clone(),
            Err(error) => return drop(reply.send(Err(error))),
        };
        let folder = attachment.claim.folder.clone();
        let running = self.folders.get(&folder);
        if running.is_none_or(|r| r.ending || r.handle.commands_tx.is_closed()) {
            let after = running.map(|r| r.handle.done.clone());
            let handle = folder::spawn(Start {
                lead: Arc::clone(&attachment),
                device,
                syncthing: Arc::clone(&syncthing),
                mount_point: self.paths.sync().join(&folder),
                sink: self.sink(session),
                reports: self.reports(),
                after,
            });
            self.folders.insert(folder.clone(), Running { handle, ending: false });
        }
        if let Some(held) = self.attachments.get_mut(id) {
            held.joined = true;
        }
        let (role_tx, role_rx) = oneshot::channel();
        if let Some(running) = self.folders.get(&folder) {
            // A folder that has ended drops the sender, which is answered below.
            drop(running.handle.commands_tx.send(folder::Command::Join(attachment, role_tx)));
        }
        let (commands_tx, id) = (self.commands_tx.clone(), id.to_owned());
        tokio::spawn(async move {
            let role = role_rx.await.map_or(Err(Error::FolderEnded), |role| role.map_err(Error::from));
            if let Ok(role) = role {
                // The registry is gone when radar stops.
                drop(commands_tx.send(Command::FolderReport(Report::Joined { attachment: id, role })));
            }
            drop(reply.send(role));
        });
    }

    /// Lets go of what was attached by a call whose answer did not arrive.
    fn unheard(&mut self, session: &str, call: &str) {
        let of = |held: &Held| held.attachment.claim.session == session && held.call == call;
        if let Some(id) = self.attachments.iter().find(|(_, held)| of(held)).map(|(id, _)| id.clone()) {
            drop(self.let_go(&id));
        }
    }

    fn detach(&mut self, session: &str, id: &str, reply: Reply<()>) {
        let own = self.attachments.get(id).is_some_and(|held| held.attachment.claim.session == session);
        let wait = if own { self.let_go(id) } else { None };
        answer_after(wait.into_iter().collect(), reply, Ok(()));
    }

    /// Forgets an attachment. What is returned resolves when its directory is unbound.
    fn let_go(&mut self, id: &str) -> Option<oneshot::Receiver<()>> {
        let held = self.attachments.remove(id)?;
        tracing::info!(attachment = id, "let go");
        let running = self.folders.get_mut(&held.attachment.claim.folder).filter(|_| held.joined)?;
        running.ending |= running.handle.progress.lead() == id;
        let (done_tx, done_rx) = oneshot::channel();
        running.handle.commands_tx.send(folder::Command::Leave(id.to_owned(), done_tx)).ok()?;
        Some(done_rx)
    }

    /// A container ended. A lead's folder has noticed by itself and reports when it is unbound.
    fn exited(&mut self, id: &str) {
        let Some(held) = self.attachments.get(id) else { return };
        let leads =
            self.folders.get(&held.attachment.claim.folder).is_some_and(|r| r.handle.progress.lead() == id);
        if held.joined && leads {
            return;
        }
        self.tell_ended(id, AttachmentEnd::ContainerExited, "the container has ended");
        // Nothing of a follower is bound.
        drop(self.let_go(id));
    }

    fn tell_ended(&self, id: &str, why: AttachmentEnd, reason: &str) {
        if let Some(held) = self.attachments.get(id) {
            self.sink(&held.attachment.claim.session).ended(id, why, reason);
        }
    }

    /// Where folders report: among the commands, so that nothing overtakes a report.
    fn reports(&self) -> Reports {
        let commands_tx = self.commands_tx.clone();
        Reports::heard_by(move |report| {
            if commands_tx.send(Command::FolderReport(report)).is_err() {
                tracing::debug!("the registry has ended before a folder");
            }
        })
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
fn answer_after<T: Send + 'static>(
    wait: Vec<oneshot::Receiver<()>>,
    reply: Reply<T>,
    answer: Result<T, Error>,
) {
    tokio::spawn(async move {
        for over in wait {
            // A sender that was dropped belongs to a folder that has ended.
            drop(over.await);
        }
        drop(reply.send(answer));
    });
}
