//! `radar syncthing`: the parent of the node's syncthing.
//!
//! Invariant: syncthing never starts with a folder configured, and never runs on without a radar that watches
//! over the containers: when radar was there and has been gone for a second, syncthing is killed and starts
//! afresh, knowing nothing. There is one process, which dies with this one.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use syncthing::{Home, HomeError, HomeOptions, through_own_binary};
use tokio::{
    net::{UnixListener, UnixStream},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use crate::{
    guards::{self, Guard},
    paths::Paths,
    supervisor::lifeline::{self, Greeting},
};
use ksync_common::Backoff;

/// How long radar may be gone.
const GONE: Duration = Duration::from_secs(1);
/// How long syncthing may take to end when it is told to.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The hidden verb that becomes syncthing.
pub(crate) const BECOME_SYNCTHING: &str = "become-syncthing";

/// Why syncthing can't be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The home could not be prepared.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A system call or file failed.
    #[error("{operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

fn io_error(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { operation, path, source }
}

/// How a run of syncthing ended.
#[derive(Debug, PartialEq, Eq)]
enum RunEnd {
    /// It ended by itself.
    Ended,
    /// radar is gone.
    Orphaned,
    /// We are told to end.
    Stop,
}

/// Keeps `binary` running until SIGTERM or SIGINT. Runs on the thread that lives longest: syncthing dies with it.
pub(crate) async fn run(paths: &Paths, binary: &Path) -> Result<(), Error> {
    let socket = paths.lifeline();
    private_dir(&paths.run())?;
    remove_stale(&socket)?;
    let listener = UnixListener::bind(&socket).map_err(io_error("listen on", &socket))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(io_error("take signals of", "this process"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(io_error("take signals of", "this process"))?;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    for start in 1.. {
        let born = Instant::now();
        let (mut child, greeting) = spawn(paths, binary, start)?;
        tracing::info!(pid = greeting.syncthing_pid, start, "syncthing started");
        let end_of_run = tokio::select! {
            end_of_run = watch_over(&listener, &mut child, &greeting) => end_of_run,
            _ = terminate.recv() => RunEnd::Stop,
            _ = interrupt.recv() => RunEnd::Stop,
        };
        match end_of_run {
            RunEnd::Stop => {
                end(child, greeting.syncthing_pid).await?;
                return remove_stale(&socket);
            }
            RunEnd::Orphaned => {
                tracing::warn!("radar is gone: syncthing is killed and starts afresh");
                child.kill().await.map_err(io_error("kill", "syncthing"))?;
            }
            RunEnd::Ended => {
                if born.elapsed() > Duration::from_secs(30) {
                    backoff.reset();
                }
                tokio::select! {
                    () = tokio::time::sleep(backoff.delay()) => {}
                    _ = terminate.recv() => return remove_stale(&socket),
                    _ = interrupt.recv() => return remove_stale(&socket),
                }
            }
        }
    }
    Ok(())
}

fn spawn(paths: &Paths, binary: &Path, start: u64) -> Result<(Child, Greeting), Error> {
    let options = HomeOptions { listen: Some(format!("tcp://{}", paths.bep())) };
    let home = Home::prepare(&paths.home(), &paths.gui(), binary, &options)?;
    let exe = std::env::current_exe().map_err(io_error("find", "this program"))?;
    let child = Command::from(through_own_binary(&exe, BECOME_SYNCTHING, binary, &home.dir))
        .kill_on_drop(true)
        .spawn()
        .map_err(io_error("start", binary))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or(io::ErrorKind::NotFound.into());
    let syncthing_pid = pid.map_err(io_error("find the process of", binary))?;
    Ok((child, Greeting { api_key: home.key, gui: home.socket, syncthing_pid, start }))
}

/// Waits for syncthing's end or radar's absence. One radar at a time: a newer connection replaces the older.
async fn watch_over(listener: &UnixListener, child: &mut Child, greeting: &Greeting) -> RunEnd {
    let mut radar: Option<UnixStream> = None;
    let mut orphaned_at: Option<tokio::time::Instant> = None;
    loop {
        let gone = async {
            match radar.as_mut() {
                Some(stream) => lifeline::closed(stream).await,
                None => std::future::pending().await,
            }
        };
        let orphaned = async {
            match orphaned_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => {
                match status {
                    Ok(status) => tracing::warn!(%status, "syncthing ended"),
                    Err(error) => tracing::error!(%error, "wait for syncthing"),
                }
                return RunEnd::Ended;
            }
            () = orphaned => return RunEnd::Orphaned,
            () = gone => {
                radar = None;
                if guards::on(Guard::Lifeline) {
                    orphaned_at = Some(tokio::time::Instant::now() + GONE);
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((mut stream, _)) => {
                    if let Err(error) = lifeline::greet(&mut stream, greeting).await {
                        tracing::warn!(%error, "greet radar");
                        continue;
                    }
                    radar = Some(stream);
                    orphaned_at = None;
                }
                Err(error) => tracing::warn!(%error, "accept radar"),
            },
        }
    }
}

async fn end(mut child: Child, pid: i32) -> Result<(), Error> {
    if let Some(pid) = Pid::from_raw(pid).filter(|_| child.id().is_some())
        && let Err(errno) = kill_process(pid, Signal::TERM)
    {
        tracing::warn!(%errno, "tell syncthing to end");
    }
    match tokio::time::timeout(LAST_WORDS, child.wait()).await {
        Ok(status) => status.map(drop).map_err(io_error("wait for", "syncthing")),
        Err(_) => child.kill().await.map_err(io_error("kill", "syncthing")),
    }
}

fn private_dir(dir: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create", dir))
}

fn remove_stale(socket: &Path) -> Result<(), Error> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", socket)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{UnixListener, UnixStream};

    use super::{Guard, RunEnd, guards, watch_over};
    use crate::supervisor::lifeline::{Greeting, hear};

    fn greeting() -> Greeting {
        Greeting { api_key: "k".into(), gui: "/g".into(), syncthing_pid: 1, start: 1 }
    }

    #[tokio::test]
    async fn syncthing_runs_on_without_a_radar_that_never_came_but_not_without_one_that_left() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut child = tokio::process::Command::new("sleep").arg("100").kill_on_drop(true).spawn().unwrap();
        let greeting = greeting();
        let alone = watch_over(&listener, &mut child, &greeting);
        assert!(tokio::time::timeout(Duration::from_millis(1500), alone).await.is_err());
        let radar = async {
            let mut first = UnixStream::connect(&socket).await.unwrap();
            assert_eq!(hear(&mut first).await.unwrap(), greeting);
            drop(first);
            // Back in time: no harm.
            let mut second = UnixStream::connect(&socket).await.unwrap();
            hear(&mut second).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1200)).await;
            let left = std::time::Instant::now();
            drop(second);
            left
        };
        let (end_of_run, left) = tokio::join!(watch_over(&listener, &mut child, &greeting), radar);
        assert_eq!(end_of_run, RunEnd::Orphaned);
        let after = left.elapsed();
        assert!(after > Duration::from_millis(900) && after < Duration::from_millis(1500), "{after:?}");
    }

    /// How it ends within three seconds when a radar was there and goes; none when it does not.
    async fn after_radar_left() -> Option<RunEnd> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut child = tokio::process::Command::new("sleep").arg("100").kill_on_drop(true).spawn().unwrap();
        let radar = async {
            let mut stream = UnixStream::connect(&socket).await.unwrap();
            hear(&mut stream).await.unwrap();
        };
        let greeting = greeting();
        let kept = tokio::time::timeout(Duration::from_secs(3), watch_over(&listener, &mut child, &greeting));
        tokio::join!(kept, radar).0.ok()
    }

    /// Without it, syncthing would go on scanning directories that nobody watches over.
    #[tokio::test]
    async fn the_dead_mans_switch_holds_alone() {
        let off = guards::off::all_but(&[Guard::Lifeline]);
        assert_eq!(after_radar_left().await, Some(RunEnd::Orphaned));
        drop(off);
        let _off = guards::off::all_but(&[]);
        assert_eq!(after_radar_left().await, None);
    }

    #[tokio::test]
    async fn the_end_of_syncthing_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let mut child = tokio::process::Command::new("true").spawn().unwrap();
        assert_eq!(watch_over(&listener, &mut child, &greeting()).await, RunEnd::Ended);
    }
}
