//! Makes a container's directory hold what is here, and proves that it does.
//!
//! Invariant: what a listing proved equal was listed on both sides after the last transfer; nothing is deleted here.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ksync_tree::{Entry, Listing};
use tokio::sync::watch;
use tracing::{debug, info};

use super::{
    app_changes,
    attached::Attached,
    interruption::Interruption,
    plan::{self, Plan, Policy, Sides},
    progress::Progress,
    settle::settle_all,
    transfer,
};
use crate::{
    base::Base,
    config::{Direction, Initial},
    kept::Kind as Kept,
    local::{KnownVersions, LocalFolder},
    node::ComparePermit,
    reload::Automatic,
    status::{ServiceTx, Status},
    targets::RemoteContainer,
};

/// How often the progress of a transfer is reported.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// Rounds of comparing and sending before the trees are taken for restless.
const ROUNDS: u32 = 6;

/// Compares one container with the local side, and makes them equal.
#[derive(Clone, Copy)]
pub(super) struct Equaliser<'a> {
    pub(super) container: &'a RemoteContainer,
    pub(super) direction: Direction,
    pub(super) initial: Initial,
    pub(super) local: &'a Arc<LocalFolder>,
    /// What was last known equal.
    pub(super) base: &'a watch::Receiver<Option<Arc<Base>>>,
    /// Hears which edits the container got.
    pub(super) automatic: &'a Automatic,
    pub(super) status: &'a ServiceTx,
}

/// What both sides have, while it is compared.
struct Both<'a> {
    here: Arc<Listing>,
    there: Vec<Entry>,
    /// Kept for the transfer that follows.
    permit: ComparePermit<'a>,
}

/// What the listing says that proved a container to be equal.
pub(super) struct Proved {
    /// What both sides hold.
    pub(super) equal: Arc<Listing>,
    /// What only the container has.
    pub(super) extra: Vec<Entry>,
}

impl Equaliser<'_> {
    /// Transfers what differs until a listing of both sides proves the container to hold what is here, but for what it
    /// has no room for; returns what that listing says. What is missing is left to syncthing, which tries it again and
    /// again. What the container `held` already is no edit for its app.
    pub(super) async fn equalise(
        &self,
        attached: &Attached,
        held: Option<&[Entry]>,
    ) -> Result<Proved, Interruption> {
        let (local, attachment) = (self.local, &attached.attachment);
        let (mut left, mut no_room) = (BTreeSet::new(), BTreeSet::new());
        let mut last: Option<Arc<Listing>> = None;
        for round in 0..ROUNDS {
            let Both { here, there, permit } = self.list_both(attached).await?;
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
            self.automatic.merged(&app_changes::of(&plan, &here.entries, &there, held));
            let first = base.is_none();
            drop((there, known));
            let (send, take, remove) = (plan.send.len(), plan.take.len(), plan.remove.len());
            info!(round, send, take, remove, extra = plan.extra.len(), "make the trees equal");
            self.status.set(Status::Syncing, format!("{} to transfer", count(send + take + remove)));
            if !plan.remove.is_empty() {
                // What stays holds entries that are not synced, and counts as done.
                left.extend(transfer::remove(attachment, plan.remove).await?);
            }
            if !plan.take.is_empty() {
                let paths = plan.take.iter().map(|entry| entry.path.clone()).collect();
                transfer::take(attachment, local, plan.take).await?;
                local.scan(paths);
            }
            if !plan.losers.is_empty() {
                // The first time of all it is not that both sides have changed it: one of them wins.
                let kind = if first { Kept::FirstSync } else { Kept::Conflict };
                transfer::keep(attachment, local, plan.losers, kind).await?;
            }
            if !plan.send.is_empty() {
                let progress = Arc::new(Progress::of(&here.entries, &plan.send));
                let sending = transfer::send(attachment, local, plan.send, Arc::clone(&progress));
                no_room.extend(self.report_while(&progress, sending).await?);
            }
            last = Some(here);
            drop(permit);
        }
        Err(Interruption::Restless)
    }

    /// Reads every file in the container once more and compares: only then is it said to be in sync. What the
    /// container has changed itself since it was `proved` equal is not missing. What was removed here since then, the
    /// node's syncthing may take for the container's own, because it never heard of it from here: it is removed there.
    pub(super) async fn verify(&self, attached: &Attached, proved: &[Entry]) -> Result<(), Interruption> {
        let local = self.local;
        for _ in 0..ROUNDS {
            let Both { here, there, permit } = self.list_both(attached).await?;
            let missing = plan::missing(&here.entries, &there, proved);
            let stale = plan::stale(&here, &there, proved);
            let Some(first) = missing.first().or(stale.first()) else { return Ok(()) };
            debug!(first, "not equal yet");
            drop(there);
            if !missing.is_empty() {
                local.scan(missing);
            }
            self.remove_stale(attached, stale).await?;
            let sequence = local.scanned().await?;
            drop(permit);
            settle_all(&attached.attachment, sequence).await?;
        }
        Err(Interruption::Restless)
    }

    /// Removes there what was removed here since the container was `proved` equal. What the node's syncthing takes for the
    /// container's own would keep it from deleting the directories that this is in.
    pub(super) async fn catch_up(&self, attached: &Attached, proved: &[Entry]) -> Result<(), Interruption> {
        let Both { here, there, permit: _permit } = self.list_both(attached).await?;
        self.remove_stale(attached, plan::stale(&here, &there, proved)).await
    }

    async fn remove_stale(&self, attached: &Attached, stale: Vec<String>) -> Result<(), Interruption> {
        if !stale.is_empty() {
            self.automatic.merged(&stale);
            transfer::remove(&attached.attachment, stale).await?;
        }
        Ok(())
    }

    async fn list_both<'a>(&self, attached: &'a Attached) -> Result<Both<'a>, Interruption> {
        let permit = attached.node.compare_permits.take(&attached.patience).await;
        let there = async { Ok(attached.attachment.list(&self.local.ignore).await?) };
        let (here, there) = tokio::try_join!(transfer::list_local(self.local, &attached.excluded), there)?;
        Ok(Both { here, there, permit })
    }

    fn plan(&self, here: &Listing, there: &[Entry], base: Option<&Base>, known: &KnownVersions) -> Plan {
        let id = &self.container.id;
        let sides = Sides {
            local: &here.entries,
            unlisted: &here.skipped,
            remote: there,
            container: id,
            base,
            recent: known,
        };
        let policy = Policy {
            direction: self.direction,
            initial: self.initial,
            first_container: self.local.first_compared.get_or_init(|| id.clone()) == id,
        };
        plan::plan(sides, policy)
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

    /// Waits for `sending`, and reports its progress meanwhile.
    async fn report_while<T>(&self, progress: &Progress, sending: impl Future<Output = T>) -> T {
        let mut sending = std::pin::pin!(sending);
        let mut report = tokio::time::interval(REPORT_EVERY);
        loop {
            tokio::select! {
                sent = &mut sending => return sent,
                _ = report.tick() => {
                    self.status.modify(|service| service.percent = progress.percent());
                    self.status.set(Status::Syncing, progress.to_string());
                }
            }
        }
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
