//! The operating system's events of a local path: which directories are watched, what an event means, and when its path is
//! looked at.
//!
//! Invariant: whatever changes below the local path and is not ignored is looked at after its last event.

mod channel;
mod cookie;
mod debounce;
mod events;
mod recursive;

pub(super) use debounce::Debounce;
pub(super) use events::{FsEvent, FsWatch};
