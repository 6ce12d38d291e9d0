//! Reload: the app of a container runs the code that was just synced, and nothing else restarts.
//!
//! Invariant: nothing falls back to something worse. What was asked for is done, is left out because the app does it
//! itself, or is refused in a sentence with the app running on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ksync_procfs::{State, Status};
use rustix::process::Signal;

use crate::container::{attachment::Attachment, mountinfo, runtime::Runtimes};

mod accounts;
mod app_watches;
mod container_files;
mod error;
mod privileges;
mod signal;
mod start;
mod turns;

pub(crate) use error::Error;

use turns::Turns;

/// How an app is reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In place, unless the app watches its directory itself.
    Auto {
        /// As below.
        grace: Duration,
    },
    /// In place.
    Process {
        /// How long the app may take to end in its own way after SIGTERM; 0 not to ask it.
        grace: Duration,
    },
    /// By its runtime: kubelet starts another container from the image.
    Container {
        /// `restartPolicy` of the container or, where it has none, of its pod.
        policy: String,
        /// From SIGTERM to SIGKILL.
        grace: Duration,
    },
    /// By a signal that the app handles, by its name.
    Signal(String),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It runs the new code.
    Reloaded(Done),
    /// It needs nobody; why.
    LeftAlone(String),
}

/// A reload that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    /// From the call to the new program.
    pub(crate) took: Duration,
    /// Of the main process, on the node.
    pub(crate) pid: i32,
    /// The command line that was executed, or what was done instead.
    pub(crate) executed: String,
    /// What the process had dropped since its start, so that its program was executed again and not what was
    /// recorded.
    pub(crate) dropped: Option<&'static str>,
    /// Processes that were ended.
    pub(crate) ended: usize,
}

/// Reloads containers of this node, each once at a time where processes are replaced.
#[derive(Debug, Clone)]
pub(crate) struct Reloader {
    runtimes: Runtimes,
    turns: Turns,
}

impl Reloader {
    pub(crate) fn new(runtimes: Runtimes) -> Self {
        Self { runtimes, turns: Turns::default() }
    }

    /// Reloads the app of an attachment's container. What is begun is finished, even if the caller goes away.
    pub(crate) async fn reload(&self, attachment: Arc<Attachment>, mode: Mode) -> Result<Outcome, Error> {
        let this = self.clone();
        let done = tokio::spawn(async move {
            let container = attachment.claim.container.clone();
            let outcome = this.work(&attachment, mode).await;
            match &outcome {
                Ok(Outcome::Reloaded(Done { took, pid, executed, dropped, ended })) => {
                    tracing::info!(%container, ?took, pid, executed, dropped, ended, "reloaded");
                }
                Ok(Outcome::LeftAlone(why)) => tracing::info!(%container, why, "left alone"),
                Err(error) => {
                    tracing::warn!(%container, error = ksync_common::chain(error), "not reloaded");
                }
            }
            outcome
        });
        done.await.unwrap_or_else(|error| Err(Error::Look(format!("reload: {error}"))))
    }

    async fn work(&self, attachment: &Arc<Attachment>, mode: Mode) -> Result<Outcome, Error> {
        match mode {
            Mode::Auto { grace } => {
                let watched = blocking({
                    let attachment = Arc::clone(attachment);
                    move || {
                        let tid = ksync_procfs::living_thread(attachment.life.pid).ok_or(Error::Ended)?;
                        app_watches::watcher(&attachment, tid).map_err(Error::Look)
                    }
                });
                match watched.await? {
                    Some(process) => {
                        let path = &attachment.claim.path;
                        Ok(Outcome::LeftAlone(format!(
                            "the app watches `{path}` itself (inotify, {process})"
                        )))
                    }
                    None => self.process(attachment, grace).await,
                }
            }
            Mode::Process { grace } => self.process(attachment, grace).await,
            Mode::Container { policy, grace } => self.container(attachment, policy, grace).await,
            Mode::Signal(name) => send(attachment, &name),
        }
    }

    async fn process(&self, attachment: &Arc<Attachment>, grace: Duration) -> Result<Outcome, Error> {
        // Of this container alone: an app that takes its grace, or time, holds up nobody else's.
        let _turn = self.turns.of(&attachment.claim.container).await;
        let begun = Instant::now();
        let pid = attachment.life.pid;
        let record = self.runtimes.record(&attachment.claim.container).await?;
        let planned = blocking(move || {
            let tid = ksync_procfs::living_thread(pid).ok_or(Error::Ended)?;
            let status = Status::of(tid).map_err(|_| Error::Ended)?;
            refuse(&status)?;
            let plan = start::plan(tid, &status, &record)?;
            // A process without a handler either never hears of the signal or just dies of it.
            let handled = signal::handled(Signal::TERM, "TERM", &status).is_ok();
            Ok((plan, if handled { grace } else { Duration::ZERO }, status.shown()))
        });
        let (plan, grace, process) = planned.await?;
        if !attachment.life.alive() {
            return Err(Error::Ended);
        }
        let ended = ksync_reexec::replace(pid, plan.program, grace).await;
        let ended = ended.map_err(|error| Error::of(error, &process))?;
        let done = Done { took: begun.elapsed(), pid, executed: plan.shown, dropped: plan.dropped, ended };
        Ok(Outcome::Reloaded(done))
    }

    async fn container(
        &self,
        attachment: &Arc<Attachment>,
        policy: String,
        grace: Duration,
    ) -> Result<Outcome, Error> {
        let begun = Instant::now();
        let (pid, path) = (attachment.life.pid, attachment.claim.path.clone());
        if policy != "Always" {
            return Err(Error::NoRestart { policy });
        }
        let mounts = blocking(move || {
            let tid = ksync_procfs::living_thread(pid).ok_or(Error::Ended)?;
            ksync_procfs::mounts(tid).map_err(|_| Error::Ended)
        });
        if !mountinfo::in_volume(&mounts.await?, &path) {
            return Err(Error::NoVolume { path });
        }
        let seconds = u32::try_from(grace.as_secs()).unwrap_or(u32::MAX);
        self.runtimes.stop(&attachment.claim.container, seconds).await?;
        let executed = "the container was stopped, for kubelet to start it anew".to_owned();
        Ok(Outcome::Reloaded(Done { took: begun.elapsed(), pid, executed, dropped: None, ended: 0 }))
    }
}

/// A process that somebody else holds is left to them.
fn refuse(status: &Status) -> Result<(), Error> {
    let process = status.shown();
    match status {
        Status { tracer: tracer @ 1.., .. } => Err(Error::Traced { process, tracer: *tracer }),
        Status { state: State::Stopped | State::Traced, .. } => Err(Error::Stopped { process }),
        _ => Ok(()),
    }
}

fn send(attachment: &Attachment, name: &str) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let pid = attachment.life.pid;
    let signal: Signal = signal::named(name)?;
    let tid = ksync_procfs::living_thread(pid).ok_or(Error::Ended)?;
    let status = Status::of(tid).map_err(|_| Error::Ended)?;
    signal::handled(signal, name, &status)?;
    attachment.life.signal(signal).map_err(|_| Error::Ended)?;
    let executed = format!("signal {} was sent", signal::plain(name));
    Ok(Outcome::Reloaded(Done { took: begun.elapsed(), pid, executed, dropped: None, ended: 0 }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::Look(format!("look at the container: {error}"))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ksync_procfs::{State, Status};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    use super::{Error, Mode, Outcome, Reloader, refuse};
    use crate::container::{attachment::fake::attached, runtime::Runtimes};

    #[test]
    fn a_process_that_somebody_holds_is_left_to_them() {
        let status = |state, tracer| Status { state, tracer, ..Status::default() };
        assert!(refuse(&status(State::Sleeping, 0)).is_ok() && refuse(&status(State::DiskSleep, 0)).is_ok());
        assert!(matches!(refuse(&status(State::Stopped, 0)), Err(Error::Stopped { .. })));
        assert!(matches!(refuse(&status(State::Traced, 7)), Err(Error::Traced { tracer: 7, .. })));
        assert!(matches!(refuse(&status(State::Sleeping, 7)), Err(Error::Traced { tracer: 7, .. })));
    }

    #[tokio::test]
    async fn what_can_not_be_done_is_refused_and_nothing_else_is_tried() {
        let (dir, nobody) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let Some(attachment) = attached("a", dir.path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let reloader = Reloader::new(Runtimes::below(nobody.path()));
        let reload = async |mode| reloader.reload(attachment.clone(), mode).await;
        let said = async |mode| reload(mode).await.unwrap_err().to_string();
        let container = |policy: &str| Mode::Container { policy: policy.into(), grace: Duration::ZERO };
        for policy in ["Never", "OnFailure", ""] {
            let expected = format!("its restartPolicy is `{policy}`: nobody would start the container again");
            assert_eq!(said(container(policy)).await, expected);
        }
        assert!(
            said(Mode::Signal("USR2".into()))
                .await
                .ends_with("has no handler for SIGUSR2, so it would not hear it")
        );
        let no_runtime = "no socket of Docker was found on this node";
        let grace = Duration::ZERO;
        for mode in [Mode::Process { grace }, Mode::Auto { grace }] {
            assert!(said(mode).await.starts_with(no_runtime));
        }
        let queue = inotify::init(CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&queue, dir.path(), WatchFlags::MODIFY).unwrap();
        assert!(said(Mode::Process { grace }).await.starts_with(no_runtime));
        let Ok(Outcome::LeftAlone(why)) = reload(Mode::Auto { grace }).await else { panic!() };
        let path = dir.path().canonicalize().unwrap();
        assert!(
            why.starts_with(&format!("the app watches `{}` itself (inotify, process ", path.display())),
            "{why}"
        );
    }
}
