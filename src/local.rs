//! The local side: one folder per local path with all that happens in it, and the local syncthing.
//!
//! Invariant: this file is the door. What others use is named here; everything else stays inside.

mod edits;
mod election;
mod feed;
mod folder;
mod fs_watch;
mod ignore;
mod marks;
mod process;
mod root;
mod state;
mod unasked;

#[cfg(test)]
pub(crate) use election::Election;
pub(crate) use election::{Registration, Seat};
pub(crate) use feed::INLINE;
pub(crate) use folder::{Answered, LocalFolder, LocalFolders};
pub(crate) use ignore::{Error as PatternsError, foreign as foreign_patterns, remove as sweep};
pub(crate) use process::{Error, LocalSyncthing, Paths, Running, STEP, State as SyncthingState};
pub(crate) use state::{Closed, LocalState};
pub(crate) use unasked::phrase;
