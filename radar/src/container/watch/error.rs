//! Why a directory can't be watched.

use std::io;

use rustix::io::Errno;

/// Why a directory can't be watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A system call failed.
    #[error("{operation} for watching `{path}`")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// Relative to the root; `.` for the root.
        path: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// Not on a thread of the attachment.
    #[error(transparent)]
    Power(#[from] ksync_tree::Error),
}

/// Makes an error of a call that failed for the directory at `path`.
pub(super) fn kernel(operation: &'static str, path: &str) -> impl FnOnce(Errno) -> Error {
    let path = if path.is_empty() { ".".to_owned() } else { path.to_owned() };
    move |errno| Error::Kernel { operation, path, source: errno.into() }
}
