//! Errors of endpoints.

use std::io;

use super::checks::RootLost;
use crate::container::watch;

/// Why an endpoint can't do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The attachment was never opened, or is not any more.
    #[error("attachment `{attachment}` is not open on this session's sync")]
    NotOpen {
        /// Its id.
        attachment: String,
    },
    /// An earlier endpoint does not end.
    #[error("attachment `{attachment}` is still at work for an earlier opening")]
    Busy {
        /// Its id.
        attachment: String,
    },
    /// The container or its directory is gone.
    #[error("{0}")]
    Lost(#[from] RootLost),
    /// The directory can't be watched.
    #[error(transparent)]
    Watch(#[from] watch::Error),
    /// The directory can't be read or written, or a pattern can't be read.
    #[error(transparent)]
    Tree(#[from] ksync_tree::Error),
    /// A thread can't be had.
    #[error("start a thread for attachment `{attachment}`")]
    Thread {
        /// Its id.
        attachment: String,
        /// The system's word.
        source: io::Error,
    },
    /// What started it has ended badly.
    #[error("open attachment `{attachment}`: {reason}")]
    Start {
        /// Its id.
        attachment: String,
        /// How it ended.
        reason: String,
    },
    /// The container's own process may not write it.
    #[error("write `{path}`: {who} may not write it")]
    Denied {
        /// Relative to the attached directory.
        path: String,
        /// Who that is.
        who: String,
    },
    /// The path is not synced.
    #[error("`{path}` is not synced here")]
    LeftOut {
        /// Relative to the attached directory.
        path: String,
    },
    /// Too many staged files wait for their jobs.
    #[error("more than {limit} staged files of attachment `{attachment}` wait for their jobs")]
    Staged {
        /// Its id.
        attachment: String,
        /// As many may wait.
        limit: usize,
    },
    /// A file that was kept open can't be read.
    #[error("read `{path}`")]
    Read {
        /// Relative to the attached directory.
        path: String,
        /// The system's word.
        source: io::Error,
    },
    /// The file is another than it was.
    #[error("`{path}` changed")]
    Changed {
        /// Relative to the attached directory.
        path: String,
    },
}
