//! A process that cannot outlive the thread that has started it, nor this process.
//!
//! Invariant: what is killed is the process that was started, whichever has its number later.

use std::{
    io,
    os::fd::OwnedFd,
    process::{Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::oneshot;

/// A child, killed when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    /// Its process, as this one sees it.
    pub(super) pid: i32,
    pidfd: OwnedFd,
    exited: Option<oneshot::Receiver<io::Result<ExitStatus>>>,
}

impl Child {
    /// Starts what `prepare` comes to, in a thread of its own, which has it as its child and may be made another one than
    /// this. The child's standard input is a pipe whose other end stays open as long as the thread lives.
    pub(super) async fn start<T, E>(
        prepare: impl FnOnce() -> Result<(Command, T), E> + Send + 'static,
    ) -> Result<(Self, T), E>
    where
        T: Send + 'static,
        E: From<io::Error> + Send + 'static,
    {
        let (started_tx, started_rx) = oneshot::channel();
        let (exited_tx, exited_rx) = oneshot::channel();
        let thread = std::thread::Builder::new().name("ksync-child".to_owned());
        thread.spawn(move || {
            let begin = || {
                let (mut command, about) = prepare()?;
                let mut child = command.stdin(Stdio::piped()).spawn()?;
                let pid =
                    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound);
                // It is not waited for yet, so the number is its own.
                let held = pid
                    .map_err(io::Error::from)
                    .and_then(|pid| Ok((pid, pidfd_open(pid, PidfdFlags::empty())?)));
                match held {
                    Ok((pid, pidfd)) => Ok((child, pid.as_raw_nonzero().get(), pidfd, about)),
                    Err(error) => {
                        child.kill()?;
                        child.wait()?;
                        Err(E::from(error))
                    }
                }
            };
            let (mut child, pid, pidfd, about) = match begin() {
                Ok(begun) => begun,
                Err(error) => return drop(started_tx.send(Err(error))),
            };
            // Whoever waits closes it otherwise.
            let _stdin = child.stdin.take();
            // Nobody waits for it any more: it is killed with what is dropped here.
            drop(started_tx.send(Ok((Self { pid, pidfd, exited: Some(exited_rx) }, about))));
            drop(exited_tx.send(child.wait()));
        })?;
        started_rx.await.map_err(|_| io::Error::other("the thread panicked"))?
    }

    /// Waits for its end.
    pub(super) async fn exited(&mut self) -> io::Result<ExitStatus> {
        let Some(exited) = self.exited.as_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let status = exited.await;
        self.exited = None;
        status.map_err(|_| io::Error::other("the thread panicked"))?
    }

    /// Ends it, and waits for that.
    pub(super) async fn kill(mut self) -> io::Result<()> {
        pidfd_send_signal(&self.pidfd, Signal::KILL)?;
        self.exited().await.map(drop)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::{io, process::Command};

    use super::Child;

    #[tokio::test]
    async fn its_end_is_told_and_so_is_what_could_not_be_started() {
        let (mut child, ()) = Child::start(|| io::Result::Ok((Command::new("true"), ()))).await.unwrap();
        assert!(child.exited().await.unwrap().success());
        assert!(Child::start(|| io::Result::Ok((Command::new("/nothing"), ()))).await.is_err());
    }

    #[tokio::test]
    async fn it_ends_when_it_is_dropped() {
        let sleep = || {
            let mut command = Command::new("sleep");
            command.arg("100");
            io::Result::Ok((command, ()))
        };
        let (child, ()) = Child::start(sleep).await.unwrap();
        child.kill().await.unwrap();
        let (child, ()) = Child::start(sleep).await.unwrap();
        let at = format!("/proc/{}", child.pid);
        drop(child);
        let begun = std::time::Instant::now();
        while std::path::Path::new(&at).exists() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "it lives on");
            tokio::task::yield_now().await;
        }
    }
}
