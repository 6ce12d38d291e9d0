//! Following a container that has joined its folder: every local change is waited for in the container.
//!
//! Invariant: it is `watching` only when everything here was acknowledged, and was compared once after it joined.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use ksync_proto::radar::{Direction as WireDirection, Role, SetDirectionRequest};
use ksync_tree::{Entry, Listing};
use tracing::{debug, info, warn};

use super::{
    Attached, Both, Folder, Interruption, ROUNDS,
    conflicts::Conflicts,
    limited, plan,
    settle::{Settled, first_of, settle, settle_all},
    transfer,
};
use crate::{
    config::Direction,
    local::{ContainerRef, FirstPull, FirstPullQuestion, LocalFolder, LocalState, Seat},
    node::{AttachmentEvent, Link, Node, NodeState},
    reload::Automatic,
    status::Status,
};
use ksync_common::Backoff;

impl Folder {
    /// Follows a joined directory: every local change is waited for in the container.
    pub(super) async fn follow(
        &self,
        local: &Arc<LocalFolder>,
        attached: &mut Attached,
        automatic: &Automatic,
        proved: Arc<Listing>,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, Interruption> {
        let mut proved = Some(proved);
        let mut here = local.state();
        let node = Arc::clone(&attached.node);
        let mut link_state = node.state();
        let process = here.borrow().process();
        let candidate = attached.role == Some(Role::Lead) && self.direction == Direction::Both;
        let mut election = local.two_way.watch();
        let mut seat: Option<Seat> = None;
        let mut settled: Option<i64> = None;
        let mut settling: Option<Settling> = None;
        let mut failing = Vec::new();
        let mut asked: Option<FirstPullQuestion> = None;
        let who = Arc::new(self.who());
        let mut conflicts = Conflicts::new();
        loop {
            let now = here.borrow_and_update().clone();
            if now.process() != process {
                return Err(Interruption::Anew);
            }
            if let Some(hold) = now.pending_deletions.of(&self.container.id) {
                return Err(Interruption::Held(hold.reason()));
            }
            let behind = now.pending || settled != Some(now.sequence);
            let elected = !candidate || seat.is_some() || election.is_taken();
            if !behind {
                self.status.modify(|service| service.acknowledged = now.revision());
            }
            self.report(&node, &now, behind || !elected, &failing, asked.as_ref());
            // Whatever else happens meanwhile, one question waits for its answer.
            settling = settling.filter(|(of, _)| behind && !now.pending && *of == now.sequence);
            if behind && !now.pending && settling.is_none() {
                let (local, link) = (Arc::clone(local), Arc::clone(&attached.link));
                let question = settle(local, link, now.sequence, failing.clone(), settled.is_some());
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
                    Self::event(local, &who, &attached.link, &mut conflicts, event)?;
                }
                () = conflicts.bring(&attached.link, &attached.id, local), if conflicts.any() => {}
                left = ended(&mut settling), if settling.is_some() => {
                    settling = None;
                    match left? {
                        Settled::Done(stages) => {
                            failing.clear();
                            if let Some(edit) = now.stages.and_then(|local| stages.edit(&local)) {
                                self.status.modify(|service| service.last_edit = Some(edit));
                            }
                        }
                        // What there is room for arrives all the same, and what is not is tried again by syncthing.
                        Settled::Failing(errors) => {
                            failing = errors;
                            continue;
                        }
                    }
                    if settled.is_none() {
                        // Not longer: it is as big as the tree.
                        let proved = std::mem::take(&mut proved).unwrap_or_default();
                        self.verify(local, attached, automatic, &proved.entries).await?;
                        automatic.proved();
                    }
                    settled = Some(now.sequence);
                    local.versions.acknowledged(&self.container.id, now.revision());
                }
                taken = local.two_way.seat(&self.container.id), if candidate && seat.is_none() && !behind => {
                    asked = self.promote(local, attached, automatic, false).await?;
                    conflicts.search(&attached.link);
                    self.status.modify(|service| service.direction = ways(asked.as_ref()));
                    seat = Some(taken);
                }
                () = accepted(asked.as_ref()), if asked.is_some() && !behind => {
                    asked = self.promote(local, attached, automatic, true).await?;
                    self.status.modify(|service| service.direction = ways(asked.as_ref()));
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
        let contact = node.last_contact();
        self.status.modify(|service| {
            service.last_contact = contact;
            service.percent = if status == Status::Watching { 100 } else { service.percent };
        });
        self.status.set(status, reason);
    }

    fn event(
        local: &LocalFolder,
        who: &Arc<ContainerRef>,
        link: &Link,
        conflicts: &mut Conflicts,
        event: Option<AttachmentEvent>,
    ) -> Result<(), Interruption> {
        match event {
            None => Err(Interruption::Lost("the events of the attachment ended".to_owned())),
            Some(AttachmentEvent::AttachmentEnded(end)) => {
                debug!(why = end.why().as_str_name(), "radar ended the attachment");
                Err(Interruption::Ended(end.reason))
            }
            Some(AttachmentEvent::ContainerChange(change))
                if change.action != "deleted"
                    && change.kind == "file"
                    && conflicts.take(link, &change.path) =>
            {
                Ok(())
            }
            Some(AttachmentEvent::ContainerChange(change)) if local.ignore.matches(&change.path) => Ok(()),
            Some(AttachmentEvent::ContainerChange(change)) => {
                debug!(path = change.path, action = change.action, "the container changed");
                if change.action == "deleted" {
                    local.container_deleted(&change.path, who);
                } else {
                    local.container_restored(&change.path);
                }
                Ok(())
            }
            Some(AttachmentEvent::EventsMissed(_)) => {
                conflicts.search(link);
                Ok(())
            }
            Some(AttachmentEvent::ItemFinished(item)) if !item.error.is_empty() => {
                warn!(
                    path = item.path,
                    action = item.action,
                    error = item.error,
                    "the container did not take a change"
                );
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    /// Reads every file in the container once more and compares: only then is it said to be in sync. What the
    /// container has changed itself since it was `proved` equal is not missing. What was removed here since then, the
    /// node's syncthing may take for the container's own, because it never heard of it from here: it is removed there.
    async fn verify(
        &self,
        local: &Arc<LocalFolder>,
        attached: &Attached,
        automatic: &Automatic,
        proved: &[Entry],
    ) -> Result<(), Interruption> {
        for _ in 0..ROUNDS {
            let Both { here, there, permit } = Self::list_both(local, attached).await?;
            let missing = plan::missing(&here.entries, &there, proved);
            let stale = plan::stale(&here, &there, proved);
            let Some(first) = missing.first().or(stale.first()) else { return Ok(()) };
            debug!(first, "not equal yet");
            drop(there);
            if !missing.is_empty() {
                local.scan(missing);
            }
            if !stale.is_empty() {
                automatic.merged(&stale);
                transfer::remove(&attached.link, &attached.id, stale).await?;
            }
            let sequence = local.scanned().await?;
            drop(permit);
            settle_all(local, &attached.link, sequence).await?;
        }
        Err(Interruption::Restless)
    }

    /// Makes this container the two-way one. Local content goes there once more where it differs by now, and what
    /// exists only there is brought here first, so that nothing has to be taken on syncthing's word. When that is much,
    /// and nobody has `agreed` to it, it is asked about instead.
    async fn promote(
        &self,
        local: &Arc<LocalFolder>,
        attached: &Attached,
        automatic: &Automatic,
        agreed: bool,
    ) -> Result<Option<FirstPullQuestion>, Interruption> {
        self.status.set(Status::Syncing, "");
        let extra = self.equalise(local, attached, automatic, None).await?.extra;
        if let Some((files, bytes)) = plan::too_much(&extra).filter(|_| !agreed) {
            let tops = plan::tops(&extra);
            let pull = FirstPull { source: self.who(), files, bytes, tops, accepted: false };
            return Ok(Some(local.first_pull.ask(pull)));
        }
        if !extra.is_empty() {
            let paths: Vec<String> = extra.iter().map(|entry| entry.path.clone()).collect();
            info!(entries = paths.len(), "bring what only the container has");
            transfer::fetch(&attached.link, &attached.id, local, extra).await?;
            local.scan(paths);
        }
        let link = &attached.link;
        let sequence = local.scanned().await?;
        settle_all(local, link, sequence).await?;
        let request = SetDirectionRequest {
            session_id: link.session_id.clone(),
            folder_id: local.id.clone(),
            direction: WireDirection::Both.into(),
        };
        limited("SetDirection", link.radar.clone().set_direction(request)).await?;
        info!("two-way");
        Ok(None)
    }
}

/// A question about a sequence, and its answer.
type Settling = (i64, BoxFuture<'static, Result<Settled, Interruption>>);

async fn ended(settling: &mut Option<Settling>) -> Result<Settled, Interruption> {
    match settling {
        Some((_, answer)) => answer.await,
        None => std::future::pending().await,
    }
}

/// Which way changes go in the container that has the seat: not back while its first pull waits for a person.
fn ways(asked: Option<&FirstPullQuestion>) -> Direction {
    if asked.is_none() { Direction::Both } else { Direction::ToContainer }
}

async fn accepted(asked: Option<&FirstPullQuestion>) {
    match asked {
        Some(asked) => asked.accepted().await,
        None => std::future::pending().await,
    }
}
