//! The registry's commands about attachments: hold, join, let go.
//!
//! Invariant: a directory is held from the moment its claim was found free; one that is taken over is out of the
//! other session's hands before the answer is sent.

use std::sync::Arc;

use jiff::{Timestamp, Unit};
use ksync_proto::radar::{AttachmentEnd, Role};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::{
    Command, Reply,
    state::{Held, Running, State, answer_after},
};
use crate::{
    container::attachment::{Attachment, Clash, clash},
    sync::folder::{self, Start},
};

impl State {
    pub(super) fn attach(&mut self, attachment: Attachment, take_over: bool, reply: Reply<Arc<Attachment>>) {
        match self.claim(&attachment, take_over) {
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
            Err(status) => drop(reply.send(Err(status))),
        }
    }

    /// A reconnect. A folder that was two-way is not any more when this is answered.
    fn attach_again(&mut self, id: &str, call: &str, reply: Reply<Arc<Attachment>>) {
        let Some(held) = self.attachments.get_mut(id) else {
            return drop(reply.send(Err(Status::aborted("the attachment has ended: attach anew"))));
        };
        if let Some(session) = self.sessions.get(&held.attachment.claim.session) {
            held.epoch = session.hello.epoch;
            call.clone_into(&mut held.call);
        }
        let attachment = Arc::clone(&held.attachment);
        let folder = self.folders.get(&attachment.claim.folder).filter(|_| held.joined);
        let Some(running) = folder.filter(|running| running.handle.view.lead() == id) else {
            return drop(reply.send(Ok(attachment)));
        };
        let (done_tx, done_rx) = oneshot::channel();
        // A folder that has ended drops the sender, which is answered below.
        drop(
            running
                .handle
                .commands_tx
                .send(folder::Command::SetDirection(folder::Direction::ToContainer, done_tx)),
        );
        tokio::spawn(async move {
            let done =
                done_rx.await.unwrap_or_else(|_| Err(Status::aborted("the folder has ended: attach anew")));
            drop(reply.send(done.map(|()| attachment)));
        });
    }

    fn claim(&mut self, attachment: &Attachment, take_over: bool) -> Result<Claimed, Status> {
        let wanted = &attachment.claim;
        let epoch = self.session(&wanted.session)?.hello.epoch;
        if let Some(running) = self.folders.get(&wanted.folder)
            && running.handle.view.session() != wanted.session
        {
            return Err(Status::already_exists(format!(
                "folder id `{}` is another session's",
                wanted.folder
            )));
        }
        let mut taken = Vec::new();
        for (id, held) in &self.attachments {
            let existing = &held.attachment.claim;
            let Some(clash) = clash(existing, wanted) else { continue };
            // Whose container has ended has no claim; its end is being handled.
            if !held.attachment.life.alive() {
                taken.push(id.clone());
                continue;
            }
            match clash {
                // Over one stream a watcher attaches a directory once, and lets go of it before it does so again.
                Clash::Same if held.epoch == epoch => {
                    return Err(Status::already_exists(format!(
                        "`{}` of container `{}` is already synced by another spec of yours",
                        wanted.path, wanted.container
                    )));
                }
                Clash::Same => return Ok(Claimed::Existing(id.clone())),
                // The path is another directory now, so the claim to the old one is void.
                Clash::Own
                    if existing.container == wanted.container
                        && existing.path == wanted.path
                        && existing.folder == wanted.folder =>
                {
                    taken.push(id.clone());
                }
                Clash::Own => {
                    return Err(Status::already_exists(format!(
                        "`{}` of container `{}` overlaps `{}` of container `{}`, which this watcher syncs already",
                        wanted.path, wanted.container, existing.path, existing.container
                    )));
                }
                Clash::Other if take_over => taken.push(id.clone()),
                Clash::Other => {
                    return Err(Status::already_exists(format!(
                        "`{}` is synced by {} since {} (at `{}`); a spec created with `--take-over` takes it over",
                        wanted.path,
                        existing.holder,
                        seconds(existing.since),
                        existing.path
                    )));
                }
            }
        }
        Ok(Claimed::Free(taken))
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
        };
        self.attachments.insert(attachment.id.clone(), held);
        attachment
    }

    pub(super) fn find(&self, session: &str, id: &str) -> Result<Arc<Attachment>, Status> {
        self.session(session)?;
        let held = self.attachments.get(id).filter(|held| held.attachment.claim.session == session);
        held.map(|held| Arc::clone(&held.attachment)).ok_or_else(|| {
            Status::not_found(format!("attachment `{id}` is not held by this session: attach anew"))
        })
    }

    pub(super) fn join(&mut self, session: &str, id: &str, reply: Reply<Role>) {
        let (attachment, syncthing) = match (self.find(session, id), self.node_syncthing()) {
            (Ok(attachment), Ok(syncthing)) => (attachment, syncthing),
            (Err(status), _) | (_, Err(status)) => return drop(reply.send(Err(status))),
        };
        let device = match self.session(session) {
            Ok(session) => session.hello.device.clone(),
            Err(status) => return drop(reply.send(Err(status))),
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
                registry_tx: self.commands_tx.clone(),
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
            let role =
                role_rx.await.unwrap_or_else(|_| Err(Status::aborted("the folder has ended: attach anew")));
            if let Ok(role) = role {
                // The registry is gone when radar stops.
                drop(commands_tx.send(Command::Joined(id, role)));
            }
            drop(reply.send(role));
        });
    }

    /// Lets go of what was attached by a call whose answer did not arrive.
    pub(super) fn unheard(&mut self, session: &str, call: &str) {
        let of = |held: &Held| held.attachment.claim.session == session && held.call == call;
        if let Some(id) = self.attachments.iter().find(|(_, held)| of(held)).map(|(id, _)| id.clone()) {
            drop(self.let_go(&id));
        }
    }

    pub(super) fn detach(&mut self, session: &str, id: &str, reply: Reply<()>) {
        let own = self.attachments.get(id).is_some_and(|held| held.attachment.claim.session == session);
        let wait = if own { self.let_go(id) } else { None };
        answer_after(wait.into_iter().collect(), reply, Ok(()));
    }

    /// Forgets an attachment. What is returned resolves when its directory is unbound.
    fn let_go(&mut self, id: &str) -> Option<oneshot::Receiver<()>> {
        let held = self.attachments.remove(id)?;
        tracing::info!(attachment = id, "let go");
        let running = self.folders.get_mut(&held.attachment.claim.folder).filter(|_| held.joined)?;
        running.ending |= running.handle.view.lead() == id;
        let (done_tx, done_rx) = oneshot::channel();
        running.handle.commands_tx.send(folder::Command::Leave(id.to_owned(), done_tx)).ok()?;
        Some(done_rx)
    }

    /// A container ended. A lead's folder has noticed by itself and reports when it is unbound.
    pub(super) fn exited(&mut self, id: &str) {
        let Some(held) = self.attachments.get(id) else { return };
        let leads =
            self.folders.get(&held.attachment.claim.folder).is_some_and(|r| r.handle.view.lead() == id);
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
}

enum Claimed {
    /// The session has it already.
    Existing(String),
    /// It can be held once these are let go of.
    Free(Vec<String>),
}

fn seconds(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}
