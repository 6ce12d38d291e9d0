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
    /// Its seccomp filters are in the way; nothing was touched.
    #[error(
        "the seccomp filters of the container's {process} forbid the system call `{call}` ({action}), which a reload in place \
         needs: mode `signal:NAME` needs none"
    )]
    Filtered {
        /// Number and name.
        process: String,
        /// As its man page has it.
        call: &'static str,
        /// What would become of it.
        action: ksync_reexec::Action,
    },
    /// The process could not be replaced.
    #[error(transparent)]
    Reexec(ksync_reexec::Error),
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

impl Error {
    /// Of a replacement of a process, which is told by number and name.
    pub(super) fn of(error: ksync_reexec::Error, process: &str) -> Self {
        match error {
            ksync_reexec::Error::Forbidden { name, action } => {
                Self::Filtered { process: process.to_owned(), call: name, action }
            }
            error => Self::Reexec(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn a_forbidden_call_is_named_and_a_signal_offered() {
        let action = ksync_reexec::Action::KillProcess;
        let error = Error::of(ksync_reexec::Error::Forbidden { name: "execve", action }, "process 1 `app`");
        assert_eq!(
            error.to_string(),
            "the seccomp filters of the container's process 1 `app` forbid the system call `execve` (it would be killed), \
             which a reload in place needs: mode `signal:NAME` needs none"
        );
        assert!(matches!(Error::of(ksync_reexec::Error::Ended, ""), Error::Reexec(_)));
    }
}
