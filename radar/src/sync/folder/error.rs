//! Errors of a folder.

use crate::{
    container::{mount, watch},
    sync::root_check::RootLost,
};

/// Why a folder can't do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The lead can't be shown to syncthing.
    #[error(transparent)]
    Mount(#[from] mount::Error),
    /// The lead's directory can't be read.
    #[error(transparent)]
    Tree(#[from] ksync_tree::Error),
    /// syncthing does not answer, or refuses.
    #[error(transparent)]
    Syncthing(#[from] syncthing::Error),
    /// The lead's directory can't be watched.
    #[error(transparent)]
    Watch(#[from] watch::Error),
    /// The task that was to start the watch ended.
    #[error("watch the directory: {reason}")]
    WatchTask {
        /// How it ended.
        reason: String,
    },
    /// The lead's directory is not what it was.
    #[error(transparent)]
    RootLost(#[from] RootLost),
    /// An attachment leads a folder only once.
    #[error("attachment `{attachment}` was joined before: attach anew")]
    JoinedBefore {
        /// Its id.
        attachment: String,
    },
    /// A folder that is not proved equal stays receive-only.
    #[error("folder `{folder}` {reason}")]
    NotProven {
        /// Its id.
        folder: String,
        /// What it lacks, as the rest of the sentence.
        reason: String,
    },
    /// The folder's syncthing is another one by now.
    #[error("the node's syncthing restarted")]
    SyncthingRestarted,
    /// The folder is gone.
    #[error("the folder has ended")]
    Ended,
    /// The folder is gone, and why.
    #[error("the folder has ended: {reason}")]
    EndedBecause {
        /// In a sentence.
        reason: String,
    },
}
