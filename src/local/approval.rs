//! What waits for a person's word: deletions of a container that are too many at once, and a large first pull.
//!
//! Invariant: nothing that is asked about is done before the answer, and an answer is for what was asked.

mod container;
mod deletions;
mod first_pull;

pub(crate) use container::ContainerRef;
pub(in crate::local) use deletions::Rollback;
pub(crate) use deletions::{PendingBurst, PendingDeletions, PendingFile};
pub(crate) use first_pull::{FirstPull, FirstPullApproval, FirstPullQuestion};
