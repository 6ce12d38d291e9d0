//! Why a file below `/proc` was not read.

use std::io;

/// A file that was not read: most often because its process has ended.
#[derive(Debug, thiserror::Error)]
#[error("read `{path}`")]
pub struct Error {
    /// The file, such as `/proc/7/status`.
    pub path: String,
    /// The kernel's answer: ENOENT or ESRCH for a process that has ended.
    pub source: io::Error,
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        error.source
    }
}
