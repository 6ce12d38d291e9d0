//! What is not synced: the patterns in force, and the file through which syncthing has them.
//!
//! Invariant: nothing is scanned without the patterns, and no file of somebody else is changed.

mod active;
mod gitexclude;
mod stignore;

pub(super) use active::ActivePatterns;
pub(super) use stignore::in_force;
pub(crate) use stignore::{Error, foreign, remove};
