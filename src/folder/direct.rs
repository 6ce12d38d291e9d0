//! Following a container under ksync's own engine (decision 0011).
//!
//! Invariant: it is `watching` only while both sides' sums of all that is there are known to be the same.

use std::{convert::Infallible, sync::Arc, time::Instant};

use ksync_common::Backoff;
use ksync_engine::{Command, Engine, MemberState, Question};

use super::{attached::Attached, interruption::Interruption, settle::first_of};
use crate::{
    config::Direction,
    local::{AGES, INLINE, LocalFolder, Registration, Seat},
    node::{AttachmentEvent, NodeState, Patterns},
    reload::Automatic,
    status::{ServiceTx, Status},
    targets::RemoteContainer,
};

/// The container is detached from the engine when this is dropped.
struct Joined {
    engine: Engine,
    name: Arc<str>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let (engine, name) = (self.engine.clone(), Arc::clone(&self.name));
        tokio::spawn(async move { engine.send(Command::Detach(name)).await });
    }
}

/// Follows one container.
pub(super) struct DirectFollower<'a> {
    pub(super) container: &'a RemoteContainer,
    pub(super) direction: Direction,
    pub(super) local: &'a Arc<LocalFolder>,
    pub(super) automatic: &'a Automatic,
    pub(super) status: &'a ServiceTx,
}

impl DirectFollower<'_> {
    /// Follows an attached directory until it is interrupted. Resets `backoff` once both sides hold the same.
    pub(super) async fn follow(
        &self,
        engine: &Engine,
        attached: &mut Attached,
        there: &Registration,
        backoff: &mut Backoff,
    ) -> Result<Infallible, Interruption> {
        let Self { local, container, status, automatic, .. } = self;
        let name: Arc<str> = Arc::from(container.id.as_str());
        let patterns = Patterns { ignore: &local.ignore, named: &local.patterns };
        let (far, from) = attached.attachment.open(&patterns, INLINE).await?;
        let attach = Command::Attach { name: Arc::clone(&name), far: Arc::new(far), from, two_way: false };
        engine.send(attach).await;
        let joined = Joined { engine: engine.clone(), name };
        there.joined(true);
        status.modify(|service| service.role = "lead");
        let mut state = engine.state();
        let mut here = local.state();
        let mut link_state = attached.node.state();
        let mut election = local.two_way.watch();
        let candidate = self.direction == Direction::Both;
        let mut seat: Option<Seat> = None;
        let mut seen = false;
        loop {
            let (member, halted) = {
                let state = state.borrow_and_update();
                (state.members.get(&joined.name).cloned(), state.halted.clone())
            };
            let Some(member) = member else {
                if seen {
                    return Err(Interruption::Ended("radar ended the attachment".to_owned()));
                }
                state.changed().await.map_err(|_| Interruption::Lost(String::new()))?;
                continue;
            };
            seen = true;
            let elected = !candidate || seat.is_some() || election.is_taken();
            let (word, reason) = standing(&member, halted);
            let contact = attached.node.last_contact();
            status.modify(|service| {
                service.last_contact = contact;
                service.percent = if word == Status::Watching { 100 } else { service.percent };
            });
            let word = if word == Status::Watching && !elected { Status::Syncing } else { word };
            status.set(word, reason);
            if member.settled && elected {
                let revision = here.borrow_and_update().revision();
                status.modify(|service| service.acknowledged = revision);
                automatic.proved();
                automatic.holds(revision);
                backoff.reset();
            }
            tokio::select! {
                changed = state.changed() => changed.map_err(|_| Interruption::Lost(String::new()))?,
                changed = here.changed() => {
                    changed.map_err(|_| Interruption::Lost("the local folder was closed".to_owned()))?;
                }
                changed = link_state.changed() => {
                    changed.map_err(|_| Interruption::Lost(String::new()))?;
                    if let NodeState::Down { reason, .. } = &*link_state.borrow_and_update() {
                        return Err(Interruption::Lost(reason.clone()));
                    }
                }
                () = election.changed() => {}
                event = attached.events.recv() => match event {
                    Some(AttachmentEvent::Ended { reason, .. }) => return Err(Interruption::Ended(reason)),
                    Some(_) => {}
                    None => return Err(Interruption::Ended("too many events wait".to_owned())),
                },
                taken = local.two_way.seat(&container.id), if candidate && seat.is_none() && member.settled => {
                    engine.send(Command::TwoWay(Arc::clone(&joined.name), true)).await;
                    status.modify(|service| service.direction = Direction::Both);
                    seat = Some(taken);
                }
                () = tokio::time::sleep(AGES) => {}
            }
        }
    }
}

/// The status word, and the sentence that goes with it.
fn standing(member: &MemberState, halted: Option<String>) -> (Status, String) {
    if let Some(reason) = halted {
        return (Status::Error, reason);
    }
    match &member.question {
        Some(Question::Removed { files, of }) => {
            return (Status::Paused, format!("deleted {files} of {of} files"));
        }
        Some(Question::GoneHere { files, of }) => {
            return (Status::Error, format!("{files} of {of} files that were in sync are gone here"));
        }
        None => {}
    }
    if !member.failures.is_empty() {
        let sentences: Vec<String> =
            member.failures.iter().map(|(path, reason)| format!("`{path}`: {reason}")).collect();
        return (Status::Error, first_of(&sentences));
    }
    if member.is_watching(Instant::now()) {
        (Status::Watching, String::new())
    } else {
        (Status::Syncing, String::new())
    }
}
