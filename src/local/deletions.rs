//! Deletions of containers, applied here: gathered, judged by a threshold, confirmed by syncthing's index, and put back where
//! they turn out to be too many.
//!
//! Invariant: nothing else takes a file out of a local folder on the far side's word.

mod apply;
mod error;
mod queue;
mod rollback;
mod threshold;

pub(super) use apply::{SyncedFolder, apply, apply_pending, roll_back};
pub(super) use queue::DeletionQueue;
