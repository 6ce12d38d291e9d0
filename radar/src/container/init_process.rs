//! A hold on a container's init process: whether the process lives, and notice of its end at once.
//!
//! Invariant: an [`InitProcess`] is of the process that the runtime named, never of a later one with the same number,
//! because [`InitProcess::hold`] opens the pidfd first and verifies the number's owner afterwards.
#![allow(unsafe_code)]

use std::{io, os::fd::OwnedFd, sync::Arc};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::io::{Interest, unix::AsyncFd};
use tokio_util::sync::CancellationToken;

use crate::{
    container::runtime::{self, ContainerId, Runtimes},
    guards::{self, Guard},
};

/// Why a process could not be held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The runtime does not know it (any more).
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The kernel refused.
    #[error("watch process `{pid}` of container `{container}`")]
    Kernel {
        /// The init's pid.
        pid: i32,
        /// Its container.
        container: ContainerId,
        /// The kernel's word.
        source: io::Error,
    },
    /// It ended, or was replaced, while it was looked at.
    #[error("container `{container}` ended while it was being attached")]
    Ended {
        /// The container.
        container: ContainerId,
    },
}

/// A living, or once living, init of a container.
#[derive(Debug)]
pub(crate) struct InitProcess {
    /// Its pid; only meaningful while it is [`InitProcess::alive`].
    pub(crate) pid: i32,
    /// When it was started, in the kernel's ticks since its boot.
    pub(crate) started: u64,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    exited: CancellationToken,
    watcher: tokio::task::JoinHandle<()>,
}

impl InitProcess {
    /// Finds the container's init and holds on to it.
    pub(crate) async fn hold(runtimes: &Runtimes, container: &ContainerId) -> Result<Self, Error> {
        let pid = runtimes.resolve(container).await?.pid;
        let life = Self::with_pid(pid).map_err(|source| match source.raw_os_error() {
            Some(libc::ESRCH) => Error::Ended { container: container.clone() },
            _ => Error::Kernel { pid, container: container.clone(), source },
        })?;
        // The number may have passed to another process between the answer and the pidfd.
        if !belongs(pid, &container.id) && runtimes.resolve(container).await?.pid != pid {
            return Err(Error::Ended { container: container.clone() });
        }
        if life.alive() { Ok(life) } else { Err(Error::Ended { container: container.clone() }) }
    }

    /// Holds the process with this number, whichever that is.
    pub(crate) fn with_pid(pid: i32) -> io::Result<Self> {
        let raw = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(raw, PidfdFlags::empty())?;
        let started = ksync_procfs::started(pid);
        let started = started.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        // SAFETY: the descriptor is owned by the `AsyncFd`, valid, and neither closed nor replaced while it is.
        let pidfd = Arc::new(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?);
        let exited = CancellationToken::new();
        let watcher = tokio::spawn({
            let (pidfd, exited) = (Arc::clone(&pidfd), exited.clone());
            async move {
                // A pidfd that can't be waited for is as good as gone: the safe side is to let go.
                if let Err(error) = pidfd.readable().await {
                    tracing::error!(pid, %error, "wait for the process's end");
                }
                exited.cancel();
            }
        });
        Ok(Self { pid, started, pidfd, exited, watcher })
    }

    /// Asks the kernel, now.
    pub(crate) fn alive(&self) -> bool {
        let mut fds = [PollFd::new(&*self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        !self.exited.is_cancelled() && matches!(poll(&mut fds, Some(&now)), Ok(0))
    }

    /// Sends it a signal; never one that has taken its number.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(self.pidfd.get_ref(), signal)?)
    }

    /// Cancelled the moment the process ends.
    pub(crate) fn exited(&self) -> CancellationToken {
        if !guards::on(Guard::Pidfd) {
            return CancellationToken::new();
        }
        self.exited.clone()
    }
}

impl Drop for InitProcess {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

/// Whether the process's control group is named after the container, as every runtime does it.
fn belongs(pid: i32, id: &str) -> bool {
    // A file that can't be read proves nothing; the caller then asks the runtime again.
    ksync_procfs::control_groups(pid).is_ok_and(|groups| groups.contains(id))
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::InitProcess;

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let life = InitProcess::with_pid(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(life.alive());
        child.kill().unwrap();
        tokio::time::timeout(Duration::from_secs(5), life.exited().cancelled()).await.unwrap();
        assert!(!life.alive());
        child.wait().unwrap();
        assert!(!life.alive());
    }

    #[tokio::test]
    async fn a_pid_that_nobody_has_is_an_error() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert_eq!(InitProcess::with_pid(pid).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
