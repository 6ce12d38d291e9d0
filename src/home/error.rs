//! Why there is no place for files of our own.

use std::{io, path::PathBuf};

/// Why there is no home.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither KSYNC_HOME nor HOME is set.
    #[error("can't tell where to keep ksync's files: neither `KSYNC_HOME` nor `HOME` is set")]
    Nowhere,
    /// A directory can't be made or used.
    #[error("can't {operation} the directory `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A private directory is somebody else's.
    #[error("refused the directory `{path}`: {reason}")]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}
