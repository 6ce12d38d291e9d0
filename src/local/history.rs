//! What was here and who made it: recent versions of files, listings of the tree, and whose a change is.
//!
//! Invariant: in memory only, one of each for a local path; losing it costs a conflict or a reload too many, never content.

mod attribution;
mod listings;
mod versions;

pub(crate) use attribution::{LocalEdit, LocalEdits, OwnWrites};
pub(crate) use listings::Listings;
pub(super) use versions::look;
pub(crate) use versions::{KnownVersions, RecentVersions};
