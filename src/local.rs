//! The local side: the local syncthing, and one folder per local path with all that happens in it.
//!
//! Invariant: this file is the door. What others use is named here; everything else stays inside.

mod actor;
mod approval;
mod conflict;
mod deletions;
mod election;
mod folder;
mod fs_watch;
mod history;
mod ignore;
mod process;
mod root;

pub use actor::{Closed, LocalStages, LocalState, Uptake};
pub use approval::{
    ContainerRef, FirstPull, FirstPullApproval, FirstPullQuestion, PendingBurst, PendingDeletions,
    PendingFile,
};
pub use election::{Election, Registration, Seat};
pub use folder::{Answered, Error as FolderError, ExcludeError, LocalFolder, LocalFolders, Share};
pub use history::{KnownVersions, Listings, LocalEdit, LocalEdits, OwnWrites, RecentVersions};
pub use ignore::{Error as PatternsError, foreign as foreign_patterns, remove as sweep};
pub use process::{Error, LocalSyncthing, Paths, Running, STEP, State};
