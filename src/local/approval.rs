//! What waits for a person's word: deletions of a container that are too many at once, and a large first pull.
//!
//! Invariant: nothing that is asked about is done before the answer, and an answer is for what was asked.

mod container;
mod deletions;
mod first_pull;

pub use container::ContainerRef;
pub(in crate::local) use deletions::Rollback;
pub use deletions::{PendingBurst, PendingDeletions, PendingFile};
pub use first_pull::{FirstPull, FirstPullApproval, FirstPullQuestion};
