//! Why a file does not go through a spool. None of these is a person's concern: it goes another way then.

use std::{io, path::PathBuf, time::Duration};

use crate::name::Name;

/// Why a file does not go through a spool.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system would be too full.
    #[error("no room for {bytes} bytes in `{path}`: {percent} % of it stay free")]
    Room {
        /// The spool's directory.
        path: PathBuf,
        /// Size of the file.
        bytes: u64,
        /// What stays free.
        percent: u64,
    },
    /// A file or directory of the spool could not be used.
    #[error("{operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Its content is not what its name says.
    #[error("`{name}` has another content")]
    Content {
        /// The file.
        name: Name,
    },
    /// What has its name is no file of its size.
    #[error("`{name}` is no file of {bytes} bytes")]
    NoFile {
        /// The file.
        name: Name,
        /// What its size should be.
        bytes: u64,
    },
    /// It does not come.
    #[error("`{name}` does not come: nothing was written in the inbox for {waited:?}")]
    Stuck {
        /// The file.
        name: Name,
        /// How long nothing came.
        waited: Duration,
    },
    /// There is no syncthing now.
    #[error("syncthing does not run")]
    NoSyncthing,
    /// syncthing does not answer, or refuses.
    #[error(transparent)]
    Syncthing(#[from] syncthing::Error),
    /// A thread did not end as it should.
    #[error("wait for a thread: {0}")]
    Thread(String),
}

pub(crate) fn io_error(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { operation, path, source }
}

/// Does something on a thread that may wait for the file system.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Thread(error.to_string())))
}
