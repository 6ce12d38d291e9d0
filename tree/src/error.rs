//! What can go wrong with a tree. Every variant names the path (relative to the root) that it is about.

use std::io;

/// Why an operation on a tree failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that is absolute, empty, or has `.`, `..`, NUL or empty components.
    #[error("refused path `{path}`: {reason}")]
    BadPath {
        /// The path as it was given.
        path: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A component on the way is a symlink or a file.
    #[error("can't go through `{path}`: it is not a directory")]
    NotADirectory {
        /// The component's path.
        path: String,
    },
    /// A directory stands where a file or symlink should go, and it is not empty.
    #[error("can't replace the directory `{path}`: it is not empty")]
    NotEmpty {
        /// The directory's path.
        path: String,
    },
    /// A socket, device or fifo, or a kind other than the one that was asked for.
    #[error("can't use `{path}`: it is {what}")]
    WrongKind {
        /// The entry's path.
        path: String,
        /// What it is, with its article.
        what: &'static str,
    },
    /// A file changed size while it was read.
    #[error("`{path}` changed while it was read")]
    Changed {
        /// The file's path.
        path: String,
    },
    /// A file or stream larger than the caller's limit.
    #[error("`{path}` goes over the limit of {limit} bytes")]
    TooLarge {
        /// The path at which the limit was passed.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// An ignore pattern that can't be read.
    #[error("can't read the ignore pattern `{pattern}`: {reason}")]
    Pattern {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An archive entry that is refused.
    #[error("refused archive entry `{path}`: {reason}")]
    Refused {
        /// The entry's name, lossy where it is not UTF-8.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The archive stream itself can't be read or written.
    #[error("can't {operation} the archive stream")]
    Stream {
        /// `read` or `write`.
        operation: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The caller's callback asked to stop.
    #[error("stopped by the receiver of the listing")]
    Stopped,
    /// The operating system refused an operation.
    #[error("can't {operation} `{path}`")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: String,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// An [`Error::Io`] from anything that converts into an `io::Error`.
    pub(crate) fn io(operation: &'static str, path: &str, source: impl Into<io::Error>) -> Self {
        Self::Io { operation, path: path.to_owned(), source: source.into() }
    }

    /// Whether the cause is that there is no room, or no more of it for this owner.
    pub fn is_no_room(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io { source, .. } if full(source.kind()))
    }

    /// Whether the cause is that the entry is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
