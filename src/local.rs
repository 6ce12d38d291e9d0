//! The local side: the local syncthing, and one folder per local path with all that happens in it.
//!
//! Invariant: this file is the door. What others use is named here; everything else stays inside.

mod actor;
mod approval;
mod conflict;
mod deletions;
mod direct;
mod election;
mod folder;
mod fs_watch;
mod history;
mod ignore;
mod process;
mod root;

pub(crate) use actor::{Closed, LocalStages, LocalState};
pub(crate) use approval::{ContainerRef, FirstPull, FirstPullQuestion, PendingBurst, PendingFile};
pub(crate) use direct::{AGES, INLINE};
pub(crate) use election::{Registration, Seat};
pub(crate) use folder::{Answered, ExcludeError, LocalFolder, LocalFolders, Share};
pub(crate) use history::{KnownVersions, LocalEdit};
pub(crate) use ignore::{Error as PatternsError, foreign as foreign_patterns, remove as sweep};
pub(crate) use process::{Error, LocalSyncthing, Paths, STEP};
