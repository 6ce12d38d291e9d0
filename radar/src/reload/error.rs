//! Why an app was not reloaded: one sentence each, for the person who asked.

use super::{signal, start};
use crate::container::runtime;

/// Why an app was not reloaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The container is gone.
    #[error("the container has ended")]
    Ended,
    /// Somebody stopped the main process.
    #[error("the container's {process} is stopped (SIGSTOP): let it go on with SIGCONT")]
    Stopped {
        /// Number and name.
        process: String,
    },
    /// Somebody debugs it.
    #[error("the container's {process} is traced by process {tracer} of the node (a debugger?)")]
    Traced {
        /// Number and name.
        process: String,
        /// As the node numbers it.
        tracer: i32,
    },
    /// The runtime did not answer.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// There is nothing to execute.
    #[error(transparent)]
    Start(#[from] start::Error),
    /// The process could not be replaced.
    #[error(transparent)]
    Reexec(#[from] ksync_reexec::Error),
    /// No such signal, or nobody handles it.
    #[error(transparent)]
    Signal(#[from] signal::Error),
    /// The files would be lost.
    #[error("`{path}` is not in a volume: a restart of the container would start it with the image's files")]
    NoVolume {
        /// The attached path.
        path: String,
    },
    /// Nobody would start it again.
    #[error("its restartPolicy is `{policy}`: nobody would start the container again")]
    NoRestart {
        /// As it was said; may be empty.
        policy: String,
    },
    /// Something could not be read; a sentence.
    #[error("{0}")]
    Look(String),
}
