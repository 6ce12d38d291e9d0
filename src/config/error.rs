//! Why `ksync.yaml` as a whole can't be read or written.

use std::path::PathBuf;

use super::position::Position;

/// Why the file as a whole can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not YAML, or not of the right shape.
    #[error("can't read `{path}`: {message} at {place}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// Where.
        place: Position,
    },
    /// An edit would lose something.
    #[error("can't edit `{path}`: {reason}")]
    Edit {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// Somebody else holds the lock.
    #[error("can't change `{path}`")]
    Lock {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: crate::lock::Error,
    },
    /// Its directory can't be made.
    #[error("can't create `{path}`")]
    Home {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: crate::home::Error,
    },
    /// The system refused.
    #[error("can't {operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}
