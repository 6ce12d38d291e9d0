//! The thread that is syncthing's parent: starts it, waits for it, starts it again.
//!
//! It is a thread of its own because the kernel ties syncthing's death to the end of the *thread* that
//! forked it, and a runtime's worker may retire.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Child,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use ksync_common::Backoff;
use rustix::process::{Pid, Signal, kill_process};
use syncthing::{Home, HomeOptions};
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

use super::state::{Paths, Running, State};

/// The hidden verb by which our own binary turns into syncthing.
pub(crate) const STEP: &str = "__syncthing";
/// How long syncthing may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(5);
const LOG_LIMIT: u64 = 4 << 20;

/// Why the local syncthing can't be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The home can't be readied.
    #[error(transparent)]
    Home(#[from] syncthing::HomeError),
    /// The log can't be opened.
    #[error("open syncthing's log `{path}`")]
    Log {
        /// The log.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The process can't be started.
    #[error("start syncthing")]
    Start(#[source] io::Error),
    /// The REST client can't be built.
    #[error(transparent)]
    Client(#[from] syncthing::Error),
}

/// Ends the process, and keeps it from being started again.
#[derive(Debug)]
pub(super) struct Stop {
    stopping: Arc<AtomicBool>,
    child: Arc<Mutex<Option<Pid>>>,
    ended: watch::Receiver<bool>,
}

impl Stop {
    /// Of nothing.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { stopping: Arc::default(), child: Arc::default(), ended: watch::channel(true).1 }
    }

    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.signal(Signal::TERM);
        let mut ended = self.ended.clone();
        if tokio::time::timeout(STOP_LIMIT, ended.wait_for(|ended| *ended)).await.is_err() {
            warn!(limit = ?STOP_LIMIT, "syncthing did not end when asked to");
            self.signal(Signal::KILL);
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    fn signal(&self, signal: Signal) {
        // The lock is held, so the thread has not reaped this pid yet.
        if let Some(pid) = *self.child.lock().unwrap_or_else(PoisonError::into_inner)
            && let Err(error) = kill_process(pid, signal)
        {
            warn!(%error, "signal syncthing");
        }
    }
}

/// Starts the thread. The first start's preparation is done here, so that its errors are the caller's.
pub(super) fn keep(paths: Paths) -> Result<(watch::Receiver<State>, Stop), Error> {
    let (state_tx, state) = watch::channel(State::Down(None));
    let (ended_tx, ended) = watch::channel(false);
    let stop = Stop { stopping: Arc::default(), child: Arc::default(), ended };
    let first = prepare(&paths)?;
    let runtime = tokio::runtime::Handle::current();
    let (stopping, child) = (Arc::clone(&stop.stopping), Arc::clone(&stop.child));
    thread::Builder::new()
        .name("syncthing-parent".to_owned())
        .spawn(move || {
            let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
            let mut prepared = Ok(first);
            let mut number = 0;
            while !stopping.load(Ordering::SeqCst) {
                number += 1;
                let begun = std::time::Instant::now();
                let end = prepared
                    .and_then(|home| run_once(&paths, &home, number, &runtime, &state_tx, &stopping, &child));
                let reason = match end {
                    Ok(status) => {
                        format!("the local syncthing ended ({status}); its log is `{}`", paths.log.display())
                    }
                    Err(error) => ksync_common::chain(&error),
                };
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                warn!(reason, "starting syncthing again");
                state_tx.send_replace(State::Down(Some(reason)));
                if begun.elapsed() > START_LIMIT {
                    backoff.reset();
                }
                thread::sleep(backoff.delay());
                prepared = prepare(&paths);
            }
            state_tx.send_replace(State::Down(Some("the watcher stops".to_owned())));
            ended_tx.send_replace(true);
        })
        .map_err(Error::Start)?;
    Ok((state, stop))
}

fn prepare(paths: &Paths) -> Result<Home, Error> {
    Ok(Home::prepare(&paths.home, &paths.socket, &paths.binary, &HomeOptions { listen: None })?)
}

fn run_once(
    paths: &Paths,
    home: &Home,
    number: u64,
    runtime: &tokio::runtime::Handle,
    state_tx: &watch::Sender<State>,
    stopping: &AtomicBool,
    pid: &Mutex<Option<Pid>>,
) -> Result<std::process::ExitStatus, Error> {
    let log = open_log(&paths.log)?;
    let errors = log.try_clone().map_err(Error::Start)?;
    let client = syncthing::Client::unix(&home.socket, &home.key)?;
    let mut child: Child = syncthing::through_own_binary(&own_binary()?, STEP, &paths.binary, &home.dir)
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(Error::Start)?;
    *pid.lock().unwrap_or_else(PoisonError::into_inner) = Pid::from_raw(child.id().cast_signed());
    if stopping.load(Ordering::SeqCst) {
        // A stop that came before the pid was known has signalled nobody.
        child.kill().map_err(Error::Start)?;
    }
    let waiting = runtime.spawn(announce(client, number, state_tx.clone()));
    let status = wait_then_forget(&mut child, pid);
    waiting.abort();
    status
}

/// Reaps the child, and forgets its pid before the kernel may give it to somebody else.
fn wait_then_forget(child: &mut Child, pid: &Mutex<Option<Pid>>) -> Result<std::process::ExitStatus, Error> {
    let id = Pid::from_raw(child.id().cast_signed());
    if let Some(id) = id {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(error) = waitid(WaitId::Pid(id), exited) {
            if error != rustix::io::Errno::INTR {
                return Err(Error::Start(error.into()));
            }
        }
    }
    let mut known = pid.lock().unwrap_or_else(PoisonError::into_inner);
    *known = None;
    child.wait().map_err(Error::Start)
}

/// Waits until syncthing answers, then says so.
async fn announce(client: syncthing::Client, number: u64, state_tx: watch::Sender<State>) {
    let begun = Instant::now();
    loop {
        match client.my_id().await {
            Ok(device_id) => {
                info!(number, device_id, took = ?begun.elapsed(), "syncthing is up");
                state_tx.send_replace(State::Up(Arc::new(Running { number, client })));
                return;
            }
            Err(error) if begun.elapsed() > START_LIMIT => {
                let reason = format!("syncthing does not answer: {}", ksync_common::chain(&error));
                warn!(reason);
                state_tx.send_replace(State::Down(Some(reason)));
                return;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Our own program, also after an upgrade has deleted its file.
fn own_binary() -> Result<PathBuf, Error> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe().map_err(Error::Start)
}

fn open_log(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::Log { path: path.to_owned(), source };
    let full = path.metadata().is_ok_and(|meta| meta.len() > LOG_LIMIT);
    if full {
        std::fs::rename(path, path.with_extension("log.1")).map_err(failed)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Paths, State, keep};

    /// What is started is this test's own program, which knows nothing of syncthing's arguments and ends.
    #[tokio::test(flavor = "multi_thread")]
    async fn why_it_is_down_is_known_with_the_place_of_its_log() {
        crate::tls::install();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("home")).unwrap();
        for made_before in ["home/cert.pem", "home/key.pem"] {
            fs::write(at(made_before), "").unwrap();
        }
        let log = at("log");
        let paths = Paths {
            binary: at("none"),
            home: at("home"),
            socket: at("socket"),
            log: log.clone(),
            kept: at("kept"),
        };
        let (mut state, stop) = keep(paths).unwrap();
        let down = state.wait_for(|state| matches!(state, State::Down(Some(_)))).await.unwrap().clone();
        let State::Down(Some(reason)) = down else { unreachable!() };
        assert!(reason.starts_with("the local syncthing ended (exit status: "), "{reason}");
        assert!(reason.ends_with(&format!("; its log is `{}`", log.display())), "{reason}");
        stop.stop().await;
    }
}
