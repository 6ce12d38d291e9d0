//! The registry's data and what each command does to it.
//!
//! Invariant: an attachment belongs to a person whose session is open or in its grace. Nobody's command reaches what is
//! another person's.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use ksync_keys::Fingerprint;
use ksync_proto::radar::{AttachmentEnd, SessionEvent};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    command::{Command, IfHeld},
    error::Error,
    held::{self, Claimed, Held},
    proofs::{GOOD_FOR, Good, Life, Proofs},
};
use crate::{
    container::{attachment::Attachment, power::Credential, runtime::ContainerId},
    sync::{
        session::{GRACE, Hello, Opening, Session, Sink, opening},
        spools::Spools,
    },
};

/// Sessions of a node.
const SESSIONS: usize = 512;
/// Attachments of one person on a node, and of all.
const OWN_ATTACHMENTS: usize = 512;
const ATTACHMENTS: usize = 8192;
/// Containers that one person has proved to be allowed into, those that have ended meanwhile among them.
const OWN_PROOFS: usize = 1024;

pub(super) struct State {
    commands_tx: mpsc::UnboundedSender<Command>,
    spools: Spools,
    sessions: HashMap<Fingerprint, Session>,
    /// Sessions that there have been.
    opened: u64,
    attachments: HashMap<String, Held>,
    proofs: Proofs,
    stopping: bool,
}

impl State {
    pub(super) fn new(commands_tx: mpsc::UnboundedSender<Command>, spools: Spools) -> Self {
        Self {
            commands_tx,
            spools,
            sessions: HashMap::new(),
            opened: 0,
            attachments: HashMap::new(),
            proofs: Proofs::default(),
            stopping: false,
        }
    }

    /// Obeys. An answer that nobody waits for any more is dropped.
    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::Open(hello, events_tx, reply) => drop(reply.send(self.open(hello, events_tx))),
            Command::StreamLost(person, epoch) => self.stream_lost(person, epoch),
            Command::GraceOver(person, epoch) => {
                let over = self.sessions.get(&person).is_some_and(|s| !s.open && s.hello.epoch == epoch);
                if over {
                    tracing::info!(%person, "the session's grace is over");
                    self.end_session(person, "the session's grace is over");
                }
            }
            Command::Holder(person, reply) => {
                drop(reply.send(self.session(person).map(|s| s.hello.holder.clone())));
            }
            Command::Holding(reply) => drop(reply.send(Ok(self.holding()))),
            Command::Proved(person, life, exec, reply) => drop(reply.send(self.proved(person, life, exec))),
            Command::Good(person, life, reply) => drop(reply.send(self.good(person, &life))),
            Command::ProofOver(person, container, number) => self.proof_over(person, &container, number),
            Command::Attach(attachment, if_held, reply) => {
                drop(reply.send(self.attach(*attachment, if_held)));
            }
            Command::Find(person, id, reply) => drop(reply.send(self.find(person, &id))),
            Command::Detach(person, id, reply) => {
                self.detach(person, &id);
                drop(reply.send(Ok(())));
            }
            Command::Unheard(person, call) => self.unheard(person, &call),
            Command::Exited(id) => self.exited(&id),
            Command::Shutdown(done) => {
                self.shutdown();
                let _ = done.send(());
            }
        }
    }

    fn session(&self, person: Fingerprint) -> Result<&Session, Error> {
        self.sessions.get(&person).ok_or(Error::NoSession { person })
    }

    /// Where a person's events go; nowhere when the session is gone.
    fn sink(&self, person: Fingerprint) -> Sink {
        self.sessions.get(&person).map(|s| s.sink.clone()).unwrap_or_default()
    }

    fn open(&mut self, hello: Hello, events_tx: mpsc::Sender<SessionEvent>) -> Result<(), Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        let person = hello.person;
        let existing = self.sessions.get(&person).map(|s| &s.hello);
        match opening(existing, &hello) {
            Opening::Stale => {
                let newest = existing.map_or(0, |old| old.epoch);
                return Err(Error::StaleEpoch { person, newest, epoch: hello.epoch });
            }
            Opening::Renewed => self.end_session(person, "the session starts over"),
            Opening::Supersedes => {}
            Opening::New => self.make_room()?,
        }
        tracing::info!(%person, epoch = hello.epoch, holder = hello.holder, "session open");
        let session = self.sessions.entry(person).or_insert_with(|| {
            self.opened += 1;
            self.spools.begin(person);
            Session { hello: hello.clone(), number: self.opened, sink: Sink::default(), open: true }
        });
        session.sink.switch(Some(events_tx), "a newer stream of the session took over");
        session.hello = hello;
        session.open = true;
        Ok(())
    }

    fn holding(&self) -> HashSet<Fingerprint> {
        self.attachments.values().map(|held| held.attachment.claim.person).collect()
    }

    /// Where there are as many sessions as there may be, the oldest that holds nothing goes: whoever opens many of them keeps
    /// nobody out who has something attached, or is about to.
    fn make_room(&mut self) -> Result<(), Error> {
        if self.sessions.len() < SESSIONS {
            return Ok(());
        }
        let holding = self.holding();
        let idle = self.sessions.iter().filter(|(person, _)| !holding.contains(*person));
        let idle = idle.min_by_key(|(_, session)| session.number).map(|(person, _)| *person);
        let idle = idle.ok_or(Error::TooMany { limit: SESSIONS, what: "sessions on this node" })?;
        tracing::warn!(person = %idle, limit = SESSIONS, "too many sessions: one that holds nothing ends");
        self.end_session(idle, "there are too many sessions on this node, and this one held nothing");
        Ok(())
    }

    fn stream_lost(&mut self, person: Fingerprint, epoch: u64) {
        let Some(session) = self.sessions.get_mut(&person).filter(|s| s.open && s.hello.epoch == epoch)
        else {
            return;
        };
        tracing::info!(%person, epoch, "the session's stream is gone");
        session.open = false;
        session.sink.switch(None, "");
        let commands_tx = self.commands_tx.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            // The registry is gone when radar stops.
            drop(commands_tx.send(Command::GraceOver(person, epoch)));
        });
    }

    /// Lets go of all that a session holds, of its spool and of its syncthing.
    fn end_session(&mut self, person: Fingerprint, reason: &str) {
        let Some(session) = self.sessions.remove(&person) else { return };
        session.sink.switch(None, reason);
        self.attachments.retain(|_, held| held.attachment.claim.person != person);
        self.proofs.forget(person);
        self.spools.close(person);
    }

    fn proved(&mut self, person: Fingerprint, life: Life, exec: Credential) -> Result<Duration, Error> {
        self.session(person)?;
        let now = Instant::now();
        if self.proofs.good(person, &life, now).is_none() && self.proofs.of(person) >= OWN_PROOFS {
            let what = "containers of one key proved on this node";
            return Err(Error::TooMany { limit: OWN_PROOFS, what });
        }
        let container = life.container.clone();
        tracing::info!(%person, %container, "proved that it may exec");
        let number = self.proofs.add(person, life, exec, now);
        let commands_tx = self.commands_tx.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GOOD_FOR).await;
            // The registry is gone when radar stops.
            drop(commands_tx.send(Command::ProofOver(person, container, number)));
        });
        Ok(GOOD_FOR)
    }

    fn good(&self, person: Fingerprint, life: &Life) -> Result<Good, Error> {
        self.session(person)?;
        let good = self.proofs.good(person, life, Instant::now());
        good.ok_or_else(|| Error::NotProved { person, container: life.container.clone() })
    }

    /// What rests on a proof goes with it.
    fn proof_over(&mut self, person: Fingerprint, container: &ContainerId, number: u64) {
        if !self.proofs.end(person, container, number) {
            return;
        }
        let of = |held: &Held| {
            let claim = &held.attachment.claim;
            claim.person == person && claim.container == *container
        };
        let over: Vec<String> =
            self.attachments.iter().filter(|(_, held)| of(held)).map(|(id, _)| id.clone()).collect();
        for id in over {
            self.tell_ended(&id, AttachmentEnd::Unproved, "that you may exec into it was not proved anew");
            self.let_go(&id);
        }
    }

    fn attach(&mut self, attachment: Attachment, if_held: IfHeld) -> Result<Arc<Attachment>, Error> {
        let wanted = &attachment.claim;
        self.good(wanted.person, &Life::of(&attachment))?;
        let epoch = self.session(wanted.person)?.hello.epoch;
        let taken = match held::claim(&self.attachments, wanted, epoch, if_held)? {
            Claimed::Existing(held) => {
                // A reconnect.
                let held = self.attachments.get_mut(&held).ok_or(Error::NotHeld { attachment: held })?;
                held.epoch = epoch;
                attachment.id.clone_into(&mut held.call);
                return Ok(Arc::clone(&held.attachment));
            }
            Claimed::Free(taken) => taken,
        };
        let own = self.attachments.values().filter(|held| held.attachment.claim.person == wanted.person);
        if own.count() >= OWN_ATTACHMENTS {
            let what = "directories of one key attached on this node";
            return Err(Error::TooMany { limit: OWN_ATTACHMENTS, what });
        }
        if self.attachments.len() >= ATTACHMENTS {
            let what = "directories attached on this node";
            return Err(Error::TooMany { limit: ATTACHMENTS, what });
        }
        for id in taken {
            let other = self.attachments.get(&id).map(|held| held.attachment.claim.person);
            if other.is_some_and(|other| other != attachment.claim.person) {
                let reason = format!("taken over by {}", attachment.claim.holder);
                self.tell_ended(&id, AttachmentEnd::TakenOver, &reason);
            } else {
                self.tell_ended(&id, AttachmentEnd::RootChanged, "it was attached anew");
            }
            self.let_go(&id);
        }
        Ok(self.hold(attachment))
    }

    fn hold(&mut self, attachment: Attachment) -> Arc<Attachment> {
        let attachment = Arc::new(attachment);
        let (exited, id) = (attachment.life.exited(), attachment.id.clone());
        let (commands_tx, in_use) = (self.commands_tx.clone(), Arc::clone(&attachment.in_use));
        let exit = AbortOnDropHandle::new(tokio::spawn(async move {
            exited.cancelled().await;
            // What it wrote last is brought away first.
            drop(in_use.write().await);
            // The registry is gone when radar stops.
            drop(commands_tx.send(Command::Exited(id)));
        }));
        let claim = &attachment.claim;
        let epoch = self.sessions.get(&claim.person).map_or(0, |session| session.hello.epoch);
        tracing::info!(
            attachment = attachment.id,
            container = %claim.container,
            path = claim.path,
            person = %claim.person,
            holder = claim.holder,
            "attached"
        );
        let held = Held {
            attachment: Arc::clone(&attachment),
            epoch,
            call: attachment.id.clone(),
            _exit: exit,
            _let_go: attachment.let_go.clone().drop_guard(),
        };
        self.attachments.insert(attachment.id.clone(), held);
        attachment
    }

    fn find(&self, person: Fingerprint, id: &str) -> Result<Arc<Attachment>, Error> {
        self.session(person)?;
        let held = self.attachments.get(id).filter(|held| held.attachment.claim.person == person);
        held.map(|held| Arc::clone(&held.attachment))
            .ok_or_else(|| Error::NotHeld { attachment: id.to_owned() })
    }

    /// Lets go of what was attached by a call whose answer did not arrive.
    fn unheard(&mut self, person: Fingerprint, call: &str) {
        let of = |held: &Held| held.attachment.claim.person == person && held.call == call;
        if let Some(id) = self.attachments.iter().find(|(_, held)| of(held)).map(|(id, _)| id.clone()) {
            self.let_go(&id);
        }
    }

    fn detach(&mut self, person: Fingerprint, id: &str) {
        if self.attachments.get(id).is_some_and(|held| held.attachment.claim.person == person) {
            self.let_go(id);
        }
    }

    /// Forgets an attachment.
    fn let_go(&mut self, id: &str) {
        if self.attachments.remove(id).is_some() {
            tracing::info!(attachment = id, "let go");
        }
    }

    fn exited(&mut self, id: &str) {
        self.tell_ended(id, AttachmentEnd::ContainerExited, "the container has ended");
        self.let_go(id);
    }

    fn tell_ended(&self, id: &str, why: AttachmentEnd, reason: &str) {
        if let Some(held) = self.attachments.get(id) {
            self.sink(held.attachment.claim.person).ended(id, why, reason);
        }
    }

    fn shutdown(&mut self) {
        self.stopping = true;
        for session in self.sessions.values() {
            session.sink.switch(None, "radar stops");
        }
        for person in self.sessions.keys() {
            self.spools.close(*person);
        }
        self.sessions.clear();
        self.attachments.clear();
    }
}
