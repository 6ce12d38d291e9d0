//! The orchestration for one service: attach its directory, make it equal, join it to the folder, follow it.
//!
//! Order is safety. A directory is bound and compared first; it joins receive-only; only when it holds what
//! is here is it `watching`, and only then may one container per local path become two-way. Whatever breaks
//! on the way leads back to a fresh attach, which verifies container and directory again. Nothing here
//! deletes a local file.

mod app_changes;
mod attached;
mod conflicts;
mod direct;
mod equalise;
mod follow;
mod interruption;
mod plan;
mod progress;
mod settle;
mod stages;
mod take_over;
mod transfer;

use std::{convert::Infallible, sync::Arc, time::Duration};

use jiff::Timestamp;
use ksync_common::Backoff;
use ksync_tree::Listing;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use attached::Attached;
use direct::DirectFollower;
use equalise::Equaliser;
use follow::Follower;

pub(crate) use interruption::Interruption;
pub(crate) use take_over::{SpecTakeOver, TakeOver};

use crate::{
    base::Base,
    config::{Direction, Initial},
    local::{ContainerRef, LocalFolder, LocalState, PendingBurst, Registration, Share},
    node::{AttachReply, AttachRequest, Link, Node, NodeState, Nodes, Patience, Role},
    reload::{Automatic, Policy, Reloads, Target},
    status::{ServiceTx, Status},
    targets::RemoteContainer,
};

/// What a folder is made of.
pub(crate) struct Folder {
    /// The spec's name.
    pub spec: String,
    /// The remote side.
    pub container: RemoteContainer,
    /// The path in the container.
    pub remote_path: String,
    /// Which way changes go.
    pub direction: Direction,
    /// What wins at the first sync.
    pub initial: Initial,
    /// How its app is reloaded.
    pub reloading: Arc<Policy>,
    /// Where it is listed for that.
    pub reloads: Arc<Reloads>,
    /// Connections to nodes.
    pub nodes: Arc<Nodes>,
    /// The local side.
    pub local: Arc<LocalFolder>,
    /// What the container is one of.
    pub kind: Arc<str>,
    /// What was last known equal.
    pub base: watch::Receiver<Option<Arc<Base>>>,
    /// Whether it takes the directory over from others.
    pub take_over: SpecTakeOver,
    /// Where it reports.
    pub status: ServiceTx,
}

impl Folder {
    /// Keeps the container in sync until `end`. Never fails: what goes wrong is said in the status and tried
    /// again.
    pub(crate) async fn run(self, end: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
        let mut attached = None;
        let mut take_over = self.take_over.clone();
        let there = self.local.two_way.register(&self.container.id, &self.container.node);
        // Held over interruptions, so that a lease outlives them.
        let mut node = None;
        let note = self.status.reload_note();
        let automatic = Automatic::start(&self.reloading, &self.container, &self.local, note);
        loop {
            let cycle =
                self.cycle(&there, &automatic, &mut node, &mut attached, &mut take_over, &mut backoff);
            let interruption = tokio::select! {
                () = end.cancelled() => break,
                Err(interruption) = cycle => interruption,
            };
            there.joined(false);
            let (status, reason) = interruption.standing();
            info!(%status, reason, "attach anew");
            self.status.modify(|service| (service.role, service.direction) = ("", Direction::ToContainer));
            self.status.set(status, reason);
            // After a lost connection radar still holds the directory and vouches for it; after anything else it is
            // looked at from the beginning.
            if !matches!(interruption, Interruption::Lost(_))
                && let Some(attached) = attached.take()
            {
                Self::detach(&attached).await;
            }
            tokio::select! {
                () = end.cancelled() => break,
                () = take_over.news() => {}
                () = backoff.wait() => {}
            }
        }
        if let Some(attached) = attached {
            Self::detach(&attached).await;
        }
    }

    /// One life of an attachment, which ends with an interruption.
    async fn cycle(
        &self,
        there: &Registration,
        automatic: &Automatic,
        held: &mut Option<Arc<Node>>,
        slot: &mut Option<Attached>,
        take_over: &mut SpecTakeOver,
        backoff: &mut Backoff,
    ) -> Result<Infallible, Interruption> {
        let local = &self.local;
        self.answered().await?;
        let node = match held {
            Some(node) => Arc::clone(node),
            None => self.nodes.get(&self.container.node).await.map_err(Interruption::Listen)?,
        };
        *held = Some(Arc::clone(&node));
        local.taken_up(|reason| self.status.set(Status::Attaching, reason)).await?;
        let link = self.link(&node).await?;
        // In the slot at once: whatever fails from here on, it is detached.
        let attached = slot.insert(self.attach(Arc::clone(&node), link, take_over).await?);
        if !attached.excluded.is_empty() && local.engine.is_none() {
            local.exclude(attached.excluded.clone()).await?;
        }
        if let Some(engine) = &local.engine {
            let target = self.target(attached);
            let _listed = self.reloads.list(target.clone());
            let _followed = automatic.follow(target);
            return self.direct(automatic).follow(engine, attached, there, backoff).await;
        }
        let equaliser = self.equaliser(automatic);
        let proved = if attached.role.is_some() {
            // radar held it while the connection was away: what was equal then is in the base.
            let equal = self.base.borrow().as_ref().map(|base| base.entries.clone()).unwrap_or_default();
            Arc::new(Listing { entries: equal, skipped: Vec::new() })
        } else {
            let base = self.base.borrow().clone().filter(|base| base.seen.contains(&self.container.id));
            let known = base.as_deref().map(|base| &*base.entries);
            let proved = equaliser.equalise(attached, known).await?.equal;
            there.turn().await;
            proved
        };
        let role = self.join(attached).await?;
        there.joined(true);
        attached.role = Some(role);
        let _share: Option<Share> = match role {
            Role::Lead => Some(local.share(attached.attachment.device_id(), node.bep_address.clone()).await),
            _ => None,
        };
        let target = self.target(attached);
        let _listed = self.reloads.list(target.clone());
        let _followed = automatic.follow(target);
        let follower = Follower { equaliser, source: Arc::new(self.container_ref()) };
        follower.follow(attached, proved, backoff).await
    }

    fn target(&self, attached: &Attached) -> Target {
        Target {
            spec: self.spec.clone(),
            container: self.container.clone(),
            mode: self.reloading.mode.clone(),
            attachment: attached.attachment.clone(),
            note: self.status.reload_note(),
        }
    }

    /// Waits while deletions of this container wait for a person.
    async fn answered(&self) -> Result<(), Interruption> {
        let mut here = self.local.state();
        let waits =
            |local: &LocalState| local.pending_deletions.of(&self.container.id).map(PendingBurst::reason);
        loop {
            let Some(reason) = waits(&here.borrow_and_update()) else { return Ok(()) };
            self.local.detached();
            self.status.set(Status::Paused, reason);
            here.changed().await.map_err(|_| Interruption::Lost("the local folder was closed".to_owned()))?;
        }
    }

    fn container_ref(&self) -> ContainerRef {
        ContainerRef {
            spec: self.spec.clone(),
            container: self.container.id.clone(),
            pod: self.container.pod.clone(),
        }
    }

    /// Waits for the node's connection, saying why it is not there.
    async fn link(&self, node: &Node) -> Result<Arc<Link>, Interruption> {
        let mut state = node.state();
        loop {
            match &*state.borrow_and_update() {
                NodeState::Up(link) => return Ok(Arc::clone(link)),
                NodeState::Down { reason, broken } => {
                    let status = if *broken { Status::Error } else { Status::Attaching };
                    self.status.set(status, reason.clone());
                }
            }
            state.changed().await.map_err(|_| Interruption::Lost(String::new()))?;
        }
    }

    async fn attach(
        &self,
        node: Arc<Node>,
        link: Arc<Link>,
        take_over: &mut SpecTakeOver,
    ) -> Result<Attached, Interruption> {
        self.status.set(Status::Attaching, "");
        let request = AttachRequest {
            folder: &self.local.id,
            container: &self.container,
            path: &self.remote_path,
            take_over: take_over.now(),
        };
        let (attachment, reply) = node.attach(link, &request).await?;
        take_over.spend();
        let events = node.events_of(&attachment);
        self.report_attached(&reply);
        let AttachReply { path, created, excluded, role } = reply;
        info!(attachment = attachment.id(), path, created, ?role, "attached");
        let excluded = excluded.into_iter().map(|mount| mount.path).collect();
        Ok(Attached { node, attachment, events, excluded, role, patience: Patience::default() })
    }

    fn report_attached(&self, reply: &AttachReply) {
        let shown = reply.excluded.iter().map(|mount| format!("{} ({})", mount.path, mount.reason));
        self.status.modify(|service| {
            service.excluded = shown.collect();
            service.created |= reply.created;
            service.last_contact = Some(Timestamp::now());
        });
    }

    fn equaliser<'a>(&'a self, automatic: &'a Automatic) -> Equaliser<'a> {
        Equaliser {
            container: &self.container,
            direction: self.direction,
            initial: self.initial,
            local: &self.local,
            base: &self.base,
            automatic,
            status: &self.status,
        }
    }

    fn direct<'a>(&'a self, automatic: &'a Automatic) -> DirectFollower<'a> {
        DirectFollower {
            source: self.container_ref(),
            kind: &self.kind,
            direction: self.direction,
            initial: self.initial,
            local: &self.local,
            automatic,
            status: &self.status,
        }
    }

    async fn join(&self, attached: &Attached) -> Result<Role, Interruption> {
        let role = attached.attachment.join().await?;
        self.status.modify(|service| service.role = role.name());
        Ok(role)
    }

    async fn detach(attached: &Attached) {
        if let Err(error) = attached.attachment.detach().await {
            // The lease ends it if this did not.
            debug!(%error, "detach");
        }
    }
}
