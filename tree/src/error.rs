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
    /// An ignore pattern that can't be read.
    #[error("can't read the ignore pattern `{pattern}`: {reason}")]
    Pattern {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
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

    /// Whether the cause is that the entry is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the cause is that whoever asked may not do it.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}
