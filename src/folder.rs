//! The orchestration for one service: attach its directory, hand it to the local path's engine, follow it.
//!
//! Whatever breaks on the way leads back to a fresh attach, which verifies container and directory again.

mod attached;
mod follower;
mod interruption;
mod take_over;

use std::{convert::Infallible, sync::Arc, time::Duration};

use jiff::Timestamp;
use ksync_common::Backoff;
use ksync_merge::Terms;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use attached::Attached;
use follower::Follower;

pub(crate) use interruption::Interruption;
pub(crate) use take_over::{SpecTakeOver, TakeOver};

use crate::{
    config::{Direction, Initial},
    local::LocalFolder,
    node::{AttachReply, AttachRequest, Link, Node, NodeState, Nodes},
    reload::{Automatic, Policy, Reloads, Target},
    status::{ServiceTx, Status},
    targets::{End, RemoteContainer},
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
    /// What of it comes here unasked.
    pub terms: Terms,
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
    /// Whether it takes the directory over from others.
    pub take_over: SpecTakeOver,
    /// Where it reports.
    pub status: ServiceTx,
}

impl Folder {
    /// Keeps the container in sync until `end`. Never fails: what goes wrong is said in the status and tried
    /// again.
    pub(crate) async fn run(self, end: End) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
        let mut attached = None;
        let mut take_over = self.take_over.clone();
        // Held over interruptions, so that a lease outlives them.
        let mut node = None;
        let note = self.status.reload_note();
        let automatic = Automatic::start(&self.reloading, &self.container, &self.local, note);
        loop {
            let cycle = self.cycle(
                &end.with_container,
                &automatic,
                &mut node,
                &mut attached,
                &mut take_over,
                &mut backoff,
            );
            let interruption = tokio::select! {
                () = end.now.cancelled() => break,
                Err(interruption) = cycle => interruption,
            };
            if end.with_container.is_cancelled() {
                debug!(%interruption, "the end of a container on its way out");
                break;
            }
            let (status, reason) = interruption.standing();
            info!(%status, reason, "attach anew");
            self.status.modify(|service| service.direction = Direction::ToContainer);
            self.status.set(status, reason);
            // After a lost connection radar still holds the directory and vouches for it; after anything else it is
            // looked at from the beginning.
            if !matches!(interruption, Interruption::Lost(_))
                && let Some(attached) = attached.take()
            {
                Self::detach(&attached).await;
            }
            tokio::select! {
                () = end.now.cancelled() => break,
                () = end.with_container.cancelled() => break,
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
        leaves: &CancellationToken,
        automatic: &Automatic,
        held: &mut Option<Arc<Node>>,
        slot: &mut Option<Attached>,
        take_over: &mut SpecTakeOver,
        backoff: &mut Backoff,
    ) -> Result<Infallible, Interruption> {
        let attached = leaves.run_until_cancelled(self.attached(held, take_over)).await;
        // In the slot at once: whatever fails from here on, it is detached.
        let attached = slot.insert(attached.unwrap_or(Err(Interruption::Left))?);
        let target = self.target(attached);
        let reloading = (self.reloads.list(target.clone()), automatic.follow(target));
        let local = &self.local;
        let follower = Follower {
            spec: &self.spec,
            container: &self.container,
            kind: &self.kind,
            direction: self.direction,
            initial: self.initial,
            terms: self.terms,
            local,
            automatic,
            status: &self.status,
            leaves,
        };
        let (node, attachment) = (Arc::clone(&attached.node), attached.attachment.clone());
        tokio::select! {
            interruption = follower.follow(attached, backoff, reloading) => interruption,
            never = node.keep_proved(&attachment, &self.container) => match never {},
        }
    }

    /// Attaches the directory, once all that takes is there.
    async fn attached(
        &self,
        held: &mut Option<Arc<Node>>,
        take_over: &mut SpecTakeOver,
    ) -> Result<Attached, Interruption> {
        let node = match held {
            Some(node) => Arc::clone(node),
            None => self.nodes.get(&self.container.node).await.map_err(Interruption::Listen)?,
        };
        *held = Some(Arc::clone(&node));
        self.local.taken_up().await?;
        let link = self.link(&node).await?;
        self.attach(node, link, take_over).await
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
        let end = node.end_of(&attachment);
        self.report_attached(&reply);
        let AttachReply { path, created, overrides, excluded } = reply;
        info!(attachment = attachment.id(), path, created, overrides, "attached");
        let excluded = excluded.into_iter().map(|mount| mount.path).collect();
        Ok(Attached { node, attachment, end, excluded })
    }

    fn report_attached(&self, reply: &AttachReply) {
        let shown = reply.excluded.iter().map(|mount| format!("{} ({})", mount.path, mount.reason));
        self.status.modify(|service| {
            service.excluded = shown.collect();
            service.created |= reply.created;
            service.overrides = reply.overrides;
            service.last_contact = Some(Timestamp::now());
        });
    }

    async fn detach(attached: &Attached) {
        if let Err(error) = attached.attachment.detach().await {
            // The lease ends it if this did not.
            debug!(%error, "detach");
        }
    }
}
