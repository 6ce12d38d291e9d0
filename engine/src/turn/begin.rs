//! What the engine begins at the end of a turn.
//!
//! Invariant: an operation is written down before it is begun.

use std::{os::fd::AsFd, sync::Arc, time::Instant};

use ksync_common::{Room, SPARE_PERCENT};
use ksync_merge::{Keep, Outcome, Side, set_budget};

use super::{Running, WINDOW};
use crate::{dispatcher::Job, gate::Gate, stands::size};

/// Begins what can be begun.
pub(super) fn begin(running: &mut Running) {
    if !running.state.listed {
        return;
    }
    let came = running.ledger.total(Instant::now());
    let names: Vec<Arc<str>> = running.members.keys().cloned().collect();
    let mut begun: Vec<Job> = Vec::new();
    for name in names {
        let Some(member) = running.members.get_mut(&name) else { continue };
        if member.listing.is_some() && !member.state.listed {
            continue;
        }
        let room = WINDOW.saturating_sub(member.in_flight);
        let Some((local, container)) = running.group.container(&name) else { continue };
        container.set_holds(member.holds());
        set_budget(container, member.terms.max_pull.saturating_sub(came));
        let mut ops = container.begin(local, room);
        if member.gate == Gate::Agreed {
            let deletions = ops.iter_mut().filter(|op| op.keep == Some(Keep::Deleted));
            deletions.for_each(|op| op.keep = Some(Keep::Accepted));
        }
        if member.gate.is_open() && container.is_idle() {
            member.gate = Gate::Idle;
            container.set_holds(member.holds());
        }
        let (generation, far, large) = (member.generation, &member.far, &member.large);
        let job = |op| Job {
            name: Arc::clone(&name),
            generation,
            op,
            far: Arc::clone(far),
            large: Arc::clone(large),
        };
        begun.extend(ops.into_iter().map(job));
    }
    let records = running.group.take_records();
    if let Err(error) = running.journal.record(&records, || running.group.snapshot()) {
        let reason = ksync_common::chain(&error);
        tracing::error!(reason, "what is to be done can't be written down: it is not done");
        for job in begun {
            running.over(&job, Outcome::Failed, Some(reason.clone()));
        }
        return;
    }
    let mut possible = Vec::new();
    let brings = |job: &Job| job.op.side == Side::Here && growth(job) > 0;
    let root = begun.iter().any(brings).then(|| running.dispatcher.here_root.as_fd());
    let mut room = root.and_then(|root| Room::of(root).ok());
    for job in begun {
        if job.op.side == Side::Here {
            if let Err(reason) = takes(&mut room, &job) {
                running.over(&job, Outcome::Failed, Some(reason));
                continue;
            }
            record(running, &job);
        }
        let kept = if job.op.side == Side::Here && job.op.keep.is_some() { size(&job.op.old) } else { 0 };
        if kept > 0
            && let Err(error) = running.dispatcher.keeper.has_room(kept)
        {
            running.over(&job, Outcome::Failed, Some(error.to_string()));
            continue;
        }
        if job.op.side == Side::There
            && let Some(member) = running.members.get_mut(&job.name)
        {
            member.in_flight += 1;
        }
        possible.push(job);
    }
    running.dispatcher.dispatch(possible);
}

/// Counts what comes here.
fn record(running: &mut Running, job: &Job) {
    let (old, new) = (size(&job.op.old), size(&job.op.new));
    if !running.cleared.covers_size(&job.op.path, new) {
        running.ledger.add(&job.op.path, [old, new], Instant::now());
    }
}

fn growth(job: &Job) -> u64 {
    size(&job.op.new).saturating_sub(size(&job.op.old))
}

/// A sentence where there is no room here for what a job brings: what comes from elsewhere does not fill a disk.
fn takes(room: &mut Option<Room>, job: &Job) -> Result<(), String> {
    let growth = growth(job);
    let Some(room) = room.as_mut().filter(|_| growth > 0) else { return Ok(()) };
    if !room.leaves(growth, SPARE_PERCENT) {
        return Err(format!("less than {SPARE_PERCENT} % of the disk would stay free"));
    }
    room.free -= growth;
    Ok(())
}
