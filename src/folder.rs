//! The orchestration for one service: attach its directory, make it equal, join it to the folder, follow it.
//!
//! Order is safety. A directory is bound and compared first; it joins receive-only; only when it holds what
//! is here is it `watching`, and only then may one container per local path become two-way. Whatever breaks
//! on the way leads back to a fresh attach, which verifies container and directory again. Nothing here
//! deletes a local file.

mod app_changes;
mod conflicts;
mod follow;

mod interruption;
mod plan;
mod progress;
mod settle;
mod stages;
mod take_over;
mod transfer;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use ksync_proto::radar::{AttachReply, AttachRequest, DetachRequest, JoinRequest, Role};
use ksync_tree::{Entry, Listing};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

pub use interruption::Interruption;
use progress::Progress;
pub use take_over::{TakeOver, Wish};

use crate::{
    base::Base,
    config::{Direction, Initial},
    kept::Kind as Kept,
    local::{ContainerRef, KnownVersions, LocalFolder, LocalState, Registration, Share},
    node::{AttachmentEvent, ComparePermit, Link, Node, NodeState, Nodes, Patience},
    reload::{Automatic, Policy, Reloads, Target},
    service::RemoteContainer,
    status::{ServiceTx, Status},
};
use ksync_common::Backoff;

/// For a call that resolves, binds or configures.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// How often the progress of a transfer is told.
const TELL: Duration = Duration::from_millis(200);
/// Rounds of comparing and sending before the trees are taken for restless.
const ROUNDS: u32 = 6;

/// What a folder is made of.
pub struct Folder {
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
    /// What was last known equal.
    pub base: watch::Receiver<Option<Arc<Base>>>,
    /// Whether it takes the directory over from others.
    pub take_over: Wish,
    /// Where it reports.
    pub status: ServiceTx,
}

/// What both sides have, while it is compared.
struct Both<'a> {
    here: Arc<Listing>,
    there: Vec<Entry>,
    /// Kept for the transfer that follows.
    permit: ComparePermit<'a>,
}

/// A directory that is attached.
struct Attached {
    node: Arc<Node>,
    patience: Patience,
    link: Arc<Link>,
    id: String,
    excluded: Vec<String>,
    events: mpsc::UnboundedReceiver<AttachmentEvent>,
    role: Option<Role>,
}

/// What the listing says that proved a container to be equal.
struct Proved {
    /// What both sides hold.
    equal: Arc<Listing>,
    /// What only the container has.
    extra: Vec<Entry>,
}

impl Folder {
    /// Keeps the container in sync until `end`. Never fails: what goes wrong is said in the status and tried
    /// again.
    pub async fn run(self, end: CancellationToken) {
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
                self.detach(&attached).await;
            }
            tokio::select! {
                () = end.cancelled() => break,
                () = take_over.news() => {}
                () = backoff.wait() => {}
            }
        }
        if let Some(attached) = attached {
            self.detach(&attached).await;
        }
    }

    /// One life of an attachment, which ends with a interruption.
    async fn cycle(
        &self,
        there: &Registration,
        automatic: &Automatic,
        held: &mut Option<Arc<Node>>,
        slot: &mut Option<Attached>,
        take_over: &mut Wish,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, Interruption> {
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
        if !attached.excluded.is_empty() {
            local.exclude(attached.excluded.clone()).await?;
        }
        let proved = if attached.role.is_some() {
            // radar held it while the connection was away: what was equal then is in the base.
            let equal = self.base.borrow().as_ref().map(|base| base.entries.clone()).unwrap_or_default();
            Arc::new(Listing { entries: equal, skipped: Vec::new() })
        } else {
            let base = self.base.borrow().clone().filter(|base| base.seen.contains(&self.container.id));
            let known = base.as_deref().map(|base| &*base.entries);
            let proved = self.equalise(local, attached, automatic, known).await?.equal;
            there.turn().await;
            proved
        };
        let role = self.join(attached).await?;
        there.joined(true);
        attached.role = Some(role);
        let _share: Option<Share> = match role {
            Role::Lead => Some(local.share(&attached.link.device_id, node.bep_address.clone()).await),
            _ => None,
        };
        let target = self.target(attached);
        let _listed = self.reloads.list(target.clone());
        let _followed = automatic.follow(target);
        self.follow(local, attached, automatic, proved, backoff).await
    }

    fn target(&self, attached: &Attached) -> Target {
        Target {
            spec: self.spec.clone(),
            container: self.container.clone(),
            mode: self.reloading.mode.clone(),
            link: Arc::clone(&attached.link),
            attachment: attached.id.clone(),
            note: self.status.reload_note(),
        }
    }

    /// Waits while deletions of this container wait for a person.
    async fn answered(&self) -> Result<(), Interruption> {
        let mut here = self.local.state();
        let waits = |local: &LocalState| {
            local.pending_deletions.of(&self.container.id).map(crate::local::PendingBurst::reason)
        };
        loop {
            let Some(reason) = waits(&here.borrow_and_update()) else { return Ok(()) };
            self.local.detached();
            self.status.set(Status::Paused, reason);
            here.changed().await.map_err(|_| Interruption::Lost("the local folder was closed".to_owned()))?;
        }
    }

    fn who(&self) -> ContainerRef {
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
        take_over: &mut Wish,
    ) -> Result<Attached, Interruption> {
        self.status.set(Status::Attaching, "");
        let request = AttachRequest {
            session_id: link.session_id.clone(),
            folder_id: self.local.id.clone(),
            container: Some(self.container.to_wire()),
            path: self.remote_path.clone(),
            take_over: take_over.now(),
        };
        let reply = limited("Attach", link.radar.clone().attach(request)).await?;
        take_over.spend();
        let role = Some(reply.role()).filter(|role| *role != Role::Unspecified);
        let excluded = self.report_excluded(&reply);
        let events = node.events_of(&reply.attachment_id);
        info!(
            attachment = reply.attachment_id,
            path = reply.path,
            created = reply.created,
            ?role,
            "attached"
        );
        Ok(Attached {
            node,
            patience: Patience::default(),
            link,
            id: reply.attachment_id,
            excluded,
            events,
            role,
        })
    }

    fn report_excluded(&self, reply: &AttachReply) -> Vec<String> {
        let out = reply.submounts.iter().filter(|mount| mount.excluded);
        let (paths, shown): (Vec<_>, Vec<_>) =
            out.map(|mount| (mount.path.clone(), format!("{} ({})", mount.path, mount.reason))).unzip();
        self.status.modify(|service| {
            service.excluded = shown;
            service.created |= reply.created;
            service.last_contact = Some(Timestamp::now());
        });
        paths
    }

    /// Transfers what differs until a listing of both sides proves the container to hold what is here, but for what it
    /// has no room for; returns what that listing says. What is missing is left to syncthing, which tries it again and
    /// again. What the container `held` already is no news to its app.
    async fn equalise(
        &self,
        local: &Arc<LocalFolder>,
        attached: &Attached,
        automatic: &Automatic,
        held: Option<&[Entry]>,
    ) -> Result<Proved, Interruption> {
        let (link, id) = (&attached.link, attached.id.as_str());
        let (mut left, mut no_room) = (BTreeSet::new(), BTreeSet::new());
        let mut last: Option<Arc<Listing>> = None;
        for round in 0..ROUNDS {
            let Both { here, there, permit } = Self::list_both(local, attached).await?;
            let (base, known) = self.past();
            let base = base.as_deref();
            let mut plan = self.plan(&here, &there, base, &known);
            plan.remove.retain(|path| !left.contains(path));
            plan.send.retain(|path| !no_room.contains(path));
            plan.losers.retain(|path| !no_room.contains(path));
            if let Some(clash) = plan.clashes.first() {
                return Err(Interruption::Clash(clash.clone()));
            }
            if let Some(doubt) = plan.doubt(&here.entries, base) {
                return Err(Interruption::Doubt(doubt));
            }
            if plan.is_equal() {
                return Ok(Proved { equal: without(here, &no_room), extra: plan.extra });
            }
            let held = last.as_ref().map(|last| &*last.entries).or(held);
            automatic.merged(&app_changes::of(&plan, &here.entries, &there, held));
            let first = base.is_none();
            drop((there, known));
            let (send, take, remove) = (plan.send.len(), plan.take.len(), plan.remove.len());
            info!(round, send, take, remove, extra = plan.extra.len(), "make the trees equal");
            self.status.set(Status::Syncing, format!("{} to transfer", count(send + take + remove)));
            if !plan.remove.is_empty() {
                // What stays holds entries that are not synced, and counts as done.
                left.extend(transfer::remove(link, id, plan.remove).await?);
            }
            if !plan.take.is_empty() {
                let paths = plan.take.iter().map(|entry| entry.path.clone()).collect();
                transfer::take(link, id, local, plan.take).await?;
                local.scan(paths);
            }
            if !plan.losers.is_empty() {
                // The first time of all it is not that both sides have changed it: one of them wins.
                let kind = if first { Kept::FirstSync } else { Kept::Conflict };
                transfer::keep(link, id, local, plan.losers, kind).await?;
            }
            if !plan.send.is_empty() {
                let progress = Arc::new(Progress::of(&here.entries, &plan.send));
                let sending = transfer::send(link, id, local, plan.send, Arc::clone(&progress));
                no_room.extend(self.told(&progress, sending).await?);
            }
            last = Some(here);
            drop(permit);
        }
        Err(Interruption::Restless)
    }

    /// What comes of `sending`; meanwhile its progress is told.
    async fn told<T>(&self, progress: &Progress, sending: impl Future<Output = T>) -> T {
        let mut sending = std::pin::pin!(sending);
        let mut tell = tokio::time::interval(TELL);
        loop {
            tokio::select! {
                sent = &mut sending => return sent,
                _ = tell.tick() => {
                    self.status.modify(|service| service.percent = progress.percent());
                    self.status.set(Status::Syncing, progress.to_string());
                }
            }
        }
    }

    /// What the container wins at a first sync it wins once: several would undo each other.
    fn plan(
        &self,
        here: &Listing,
        there: &[Entry],
        base: Option<&Base>,
        known: &KnownVersions,
    ) -> plan::Plan {
        let id = &self.container.id;
        let first = self.local.first_compared.get_or_init(|| id.clone()) == id;
        let initial = if first && self.direction == Direction::Both { self.initial } else { Initial::Local };
        plan::plan(&here.entries, there, &here.skipped, base, known, id, initial)
    }

    /// What was equal when both sides were last compared, as far as that is known; none before the first time.
    fn past(&self) -> (Option<Arc<Base>>, KnownVersions) {
        let id = &self.container.id;
        let known = self.local.versions.known(id);
        let base = self.base.borrow().clone();
        let news = !known.held.is_empty() || known.seen;
        let seen = known.seen.then_some(id.as_str());
        let base = if news { base.map(|base| Arc::new(base.since(&known.held, seen))) } else { base };
        (base, known)
    }

    async fn list_both<'a>(local: &LocalFolder, attached: &'a Attached) -> Result<Both<'a>, Interruption> {
        let permit = attached.node.compare_permits.take(&attached.patience).await;
        let (here, there) = tokio::try_join!(
            transfer::list_local(local, &attached.excluded),
            transfer::list_remote(&attached.link, &attached.id, &local.ignore),
        )?;
        Ok(Both { here, there, permit })
    }

    async fn join(&self, attached: &Attached) -> Result<Role, Interruption> {
        let link = &attached.link;
        let request = JoinRequest { session_id: link.session_id.clone(), attachment_id: attached.id.clone() };
        let reply = limited("Join", link.radar.clone().join(request)).await?;
        let role = reply.role();
        self.status.modify(|service| {
            service.role = match role {
                Role::Lead => "lead",
                Role::Follower => "follower",
                Role::Alias => "alias",
                Role::Unspecified => "",
            };
        });
        Ok(role)
    }

    async fn detach(&self, attached: &Attached) {
        let link = &attached.link;
        let request =
            DetachRequest { session_id: link.session_id.clone(), attachment_id: attached.id.clone() };
        if let Err(interruption) = limited("Detach", link.radar.clone().detach(request)).await {
            // The lease ends it if this did not.
            debug!(reason = interruption.standing().1, "detach");
        }
    }
}

/// An answer of radar's within the limit of a call.
async fn limited<T>(
    call: &'static str,
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Interruption> {
    match tokio::time::timeout(CALL_LIMIT, answer).await {
        Ok(reply) => Ok(reply?.into_inner()),
        Err(_) => Err(Interruption::Slow { call, limit: CALL_LIMIT }),
    }
}

/// A listing without some paths.
fn without(listing: Arc<Listing>, paths: &BTreeSet<String>) -> Arc<Listing> {
    if paths.is_empty() {
        return listing;
    }
    let entries = listing.entries.iter().filter(|entry| !paths.contains(&entry.path)).cloned().collect();
    Arc::new(Listing { entries, skipped: listing.skipped.clone() })
}

fn count(files: usize) -> String {
    if files == 1 { "1 entry".to_owned() } else { format!("{files} entries") }
}
