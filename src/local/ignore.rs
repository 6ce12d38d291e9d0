//! What is not synced: the patterns in force, and what earlier versions have left of them in a local path.
//!
//! Invariant: no file of somebody else is changed.

mod gitexclude;
mod stignore;

pub(super) use stignore::in_force;
pub(crate) use stignore::{Error, foreign, remove};
