//! Following a container that has joined its folder: every local change is waited for in the container.
//!
//! Invariant: it is `watching` only when everything here was acknowledged, and was compared once after it joined.

use std::{convert::Infallible, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use ksync_common::Backoff;
use ksync_tree::{Kind, Listing};
use tracing::{debug, info, warn};

use super::{
    attached::Attached,
    conflicts::Conflicts,
    equalise::Equaliser,
    interruption::Interruption,
    plan,
    settle::{Settled, first_of, settle, settle_all},
    transfer,
};
use crate::{
    config::Direction,
    local::{ContainerRef, FirstPull, FirstPullQuestion, LocalFolder, LocalState, Seat},
    node::{Attachment, AttachmentEvent, Node, NodeState, Role},
    status::Status,
};

/// Follows one container.
pub(super) struct Follower<'a> {
    pub(super) equaliser: Equaliser<'a>,
    /// Whose changes these are.
    pub(super) source: Arc<ContainerRef>,
}

impl Follower<'_> {
    /// Follows a joined directory, which was `proved` equal: every local change is waited for in the container. Resets
    /// `backoff` once the container holds everything.
    pub(super) async fn follow(
        &self,
        attached: &mut Attached,
        proved: Arc<Listing>,
        backoff: &mut Backoff,
    ) -> Result<Infallible, Interruption> {
        let Equaliser { container, direction, local, automatic, status, .. } = self.equaliser;
        let mut proved = Some(proved);
        let mut here = local.state();
        let node = Arc::clone(&attached.node);
        let mut link_state = node.state();
        let process = here.borrow().process();
        let candidate = attached.role == Some(Role::Lead) && direction == Direction::Both;
        let mut election = local.two_way.watch();
        let mut seat: Option<Seat> = None;
        let mut settled: Option<i64> = None;
        let mut settling: Option<Settling> = None;
        let mut failing = Vec::new();
        let mut asked: Option<FirstPullQuestion> = None;
        let mut conflicts = Conflicts::new();
        loop {
            let now = here.borrow_and_update().clone();
            if now.process() != process {
                return Err(Interruption::Anew);
            }
            if let Some(hold) = now.pending_deletions.of(&container.id) {
                return Err(Interruption::Held(hold.reason()));
            }
            let behind = now.pending || settled != Some(now.sequence);
            let elected = !candidate || seat.is_some() || election.is_taken();
            if !behind {
                status.modify(|service| service.acknowledged = now.revision());
            }
            self.report(&node, &now, behind || !elected, &failing, asked.as_ref());
            // Whatever else happens meanwhile, one question waits for its answer.
            settling = settling.filter(|(of, _)| behind && !now.pending && *of == now.sequence);
            if behind && !now.pending && settling.is_none() {
                let attachment = attached.attachment.clone();
                let question = settle(attachment, now.sequence, failing.clone(), settled.is_some());
                settling = Some((now.sequence, question.boxed()));
            }
            if !behind && elected {
                // Not before: what its app writes at its start would be compared with what is here.
                automatic.holds(now.revision());
                backoff.reset();
            }
            tokio::select! {
                changed = here.changed() => {
                    changed.map_err(|_| Interruption::Lost("the local folder was closed".to_owned()))?;
                }
                changed = link_state.changed() => {
                    changed.map_err(|_| Interruption::Lost(String::new()))?;
                    if let NodeState::Down { reason, .. } = &*link_state.borrow_and_update() {
                        return Err(Interruption::Lost(reason.clone()));
                    }
                }
                // Somebody else's taking the seat is what this one waits for, too; the sender lives in `local`.
                () = election.changed() => {}
                event = attached.events.recv() => {
                    self.event(&attached.attachment, &mut conflicts, event)?;
                }
                () = conflicts.bring(&attached.attachment, local), if conflicts.any() => {}
                left = ended(&mut settling), if settling.is_some() => {
                    settling = None;
                    match left? {
                        Settled::Done(stages) => {
                            failing.clear();
                            if let Some(edit) = now.stages.and_then(|local| stages.edit(&local)) {
                                status.modify(|service| service.last_edit = Some(edit));
                            }
                        }
                        // What there is room for arrives all the same, and what is not is tried again by syncthing.
                        Settled::Failing(errors) => {
                            if let Some(proved) = &proved {
                                self.equaliser.catch_up(attached, &proved.entries).await?;
                            }
                            failing = errors;
                            continue;
                        }
                    }
                    if settled.is_none() {
                        // Not longer: it is as big as the tree.
                        let proved = std::mem::take(&mut proved).unwrap_or_default();
                        self.equaliser.verify(attached, &proved.entries).await?;
                        automatic.proved();
                    }
                    settled = Some(now.sequence);
                    local.versions.acknowledged(&container.id, now.revision());
                }
                taken = local.two_way.seat(&container.id), if candidate && seat.is_none() && !behind => {
                    asked = self.promote(attached, false).await?;
                    conflicts.search(&attached.attachment);
                    status.modify(|service| service.direction = ways(asked.as_ref()));
                    seat = Some(taken);
                }
                () = accepted(asked.as_ref()), if asked.is_some() && !behind => {
                    asked = self.promote(attached, true).await?;
                    status.modify(|service| service.direction = ways(asked.as_ref()));
                }
            }
        }
    }

    fn report(
        &self,
        node: &Node,
        local: &LocalState,
        busy: bool,
        failing: &[String],
        asked: Option<&FirstPullQuestion>,
    ) {
        let (status, reason) = match (local.error(), asked) {
            (Some(error), _) => (Status::Error, error.to_owned()),
            _ if busy && !failing.is_empty() => (Status::Error, first_of(failing)),
            _ if busy => (Status::Syncing, String::new()),
            (None, Some(asked)) => (Status::Confirm, asked.reason.clone()),
            (None, None) => (Status::Watching, String::new()),
        };
        let board = self.equaliser.status;
        let contact = node.last_contact();
        board.modify(|service| {
            service.last_contact = contact;
            service.percent = if status == Status::Watching { 100 } else { service.percent };
        });
        board.set(status, reason);
    }

    fn event(
        &self,
        attachment: &Attachment,
        conflicts: &mut Conflicts,
        event: Option<AttachmentEvent>,
    ) -> Result<(), Interruption> {
        let local: &LocalFolder = self.equaliser.local;
        match event {
            // What has happened in the container since is not known: an attach from the beginning compares all of it.
            None => return Err(Interruption::Ended("too many of the container's changes wait".to_owned())),
            Some(AttachmentEvent::Ended { why, reason }) => {
                debug!(why, "radar ended the attachment");
                return Err(Interruption::Ended(reason));
            }
            Some(AttachmentEvent::Changed { path, kind: Some(Kind::File) })
                if conflicts.take(attachment, &path) => {}
            Some(AttachmentEvent::Changed { path, .. } | AttachmentEvent::Deleted { path })
                if local.ignore.matches(&path) => {}
            Some(AttachmentEvent::Changed { path, .. }) => {
                debug!(path, "the container made or changed an entry");
                local.container_restored(&path);
            }
            Some(AttachmentEvent::Deleted { path }) => {
                debug!(path, "the container deleted an entry");
                local.container_deleted(&path, &self.source);
            }
            Some(AttachmentEvent::Missed) => conflicts.search(attachment),
            Some(AttachmentEvent::NotWritten { path, action, error }) => {
                warn!(path, action, error, "the container did not take a change");
            }
        }
        Ok(())
    }

    /// Makes this container the two-way one. Local content goes there once more where it differs by now, and what
    /// exists only there is brought here first, so that nothing has to be taken on syncthing's word. When that is much,
    /// and nobody has `agreed` to it, it is asked about instead.
    async fn promote(
        &self,
        attached: &Attached,
        agreed: bool,
    ) -> Result<Option<FirstPullQuestion>, Interruption> {
        let Equaliser { local, status, .. } = self.equaliser;
        let attachment = &attached.attachment;
        status.set(Status::Syncing, "");
        let extra = self.equaliser.equalise(attached, None).await?.extra;
        if let Some((files, bytes)) = plan::too_much(&extra).filter(|_| !agreed) {
            let tops = plan::tops(&extra);
            let pull =
                FirstPull { source: ContainerRef::clone(&self.source), files, bytes, tops, accepted: false };
            return Ok(Some(local.first_pull.ask(pull)));
        }
        if !extra.is_empty() {
            let paths: Vec<String> = extra.iter().map(|entry| entry.path.clone()).collect();
            info!(entries = paths.len(), "bring what only the container has");
            transfer::fetch(attachment, local, extra).await?;
            local.scan(paths);
        }
        let sequence = local.scanned().await?;
        settle_all(attachment, sequence).await?;
        attachment.set_direction(Direction::Both).await?;
        info!("two-way");
        Ok(None)
    }
}

/// Which way changes go in the container that has the seat: not back while its first pull waits for a person.
fn ways(asked: Option<&FirstPullQuestion>) -> Direction {
    if asked.is_none() { Direction::Both } else { Direction::ToContainer }
}

/// A question about a sequence, and its answer.
type Settling = (i64, BoxFuture<'static, Result<Settled, Interruption>>);

async fn ended(settling: &mut Option<Settling>) -> Result<Settled, Interruption> {
    match settling {
        Some((_, answer)) => answer.await,
        None => std::future::pending().await,
    }
}

async fn accepted(asked: Option<&FirstPullQuestion>) {
    match asked {
        Some(asked) => asked.accepted().await,
        None => std::future::pending().await,
    }
}
