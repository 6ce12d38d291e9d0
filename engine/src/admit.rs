//! Which of the operations that could be begun are: what there is room for.

use std::{os::fd::AsFd, time::Instant};

use ksync_common::{Room, SPARE_PERCENT};
use ksync_merge::{Cleared, Side};

use crate::{
    dispatcher::{Dispatcher, Job},
    ledger::Ledger,
    stands::size,
};

/// Operations, of which some can't be begun.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    pub(crate) possible: Vec<Job>,
    /// Each with the reason.
    pub(crate) refused: Vec<(Job, String)>,
}

/// Looks whether there is room here for what comes, and for what it replaces. Counts what comes.
pub(crate) fn admit(
    begun: Vec<Job>,
    dispatcher: &Dispatcher,
    ledger: &mut Ledger,
    cleared: &Cleared,
) -> Admitted {
    let brings = |job: &Job| job.op.side == Side::Here && growth(job) > 0;
    let root = begun.iter().any(brings).then(|| dispatcher.here_root.as_fd());
    let mut room = root.and_then(|root| Room::of(root).ok());
    let mut admitted = Admitted::default();
    for job in begun {
        if job.op.side == Side::There {
            admitted.possible.push(job);
            continue;
        }
        let (old, new) = (size(&job.op.old), size(&job.op.new));
        let kept = if job.op.keep.is_some() { old } else { 0 };
        let kept = if kept > 0 { dispatcher.keeper.has_room(kept) } else { Ok(()) };
        let has_room = takes(&mut room, &job).and_then(|()| kept.map_err(|error| error.to_string()));
        if let Err(reason) = has_room {
            admitted.refused.push((job, reason));
            continue;
        }
        if !cleared.covers_size(&job.op.path, new) {
            ledger.add(&job.op.path, [old, new], Instant::now());
        }
        admitted.possible.push(job);
    }
    admitted
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
