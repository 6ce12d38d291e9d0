//! `radar syncthing`: the parent of the node's syncthings.
//!
//! Invariant: a syncthing starts knowing nothing, runs only while radar holds its connection, and is one process, which dies with
//! this one.
#![allow(unsafe_code)]

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rustix::thread::{UnshareFlags, unshare_unsafe};
use syncthing::{Home, HomeError, HomeOptions};
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::{
    guards::{self, Guard},
    paths::Paths,
    supervisor::{
        child::Child,
        lifeline::{self, Answer, Ask, Greeting},
        network,
    },
};

/// The hidden verb that becomes syncthing.
pub(crate) const BECOME_SYNCTHING: &str = "become-syncthing";

/// Why there is no syncthing.
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
    /// The process could not be started.
    #[error("start syncthing")]
    Start(#[from] io::Error),
}

fn io_error(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { operation, path, source }
}

/// Starts `binary` for whoever asks, until SIGTERM or SIGINT.
pub(crate) async fn run(paths: &Paths, binary: &Path) -> Result<(), Error> {
    let socket = paths.lifeline();
    private_dir(&paths.run())?;
    let version = version(binary).map_err(io_error("ask for its version", binary))?;
    remove_stale(&socket)?;
    let listener = UnixListener::bind(&socket).map_err(io_error("listen on", &socket))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(io_error("take signals of", "this process"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(io_error("take signals of", "this process"))?;
    tracing::info!(version, "syncthing for whoever has a session");
    let about = Arc::new((version, binary.to_owned()));
    // Dropped with all syncthings.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&about)))),
                Err(error) => tracing::warn!(%error, "accept radar"),
            },
            Some(ended) = connections.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a connection of radar's");
            },
            _ = terminate.recv() => return remove_stale(&socket),
            _ = interrupt.recv() => return remove_stale(&socket),
        }
    }
}

/// What a connection asks for, until its end.
async fn serve(mut stream: UnixStream, about: Arc<(String, PathBuf)>) {
    let (version, binary) = &*about;
    let answered = match lifeline::hear(&mut stream).await {
        Ok(Ask::Presence) => {
            let said = lifeline::say(&mut stream, &Answer::Presence(version.clone())).await;
            lifeline::closed(&mut stream).await;
            said
        }
        Ok(Ask::Syncthing { home, spools }) => match start(binary.clone(), home, spools).await {
            Ok((child, greeting)) => {
                tracing::info!(pid = greeting.pid, home = %home_name(&greeting), "syncthing started");
                watch_over(stream, child, greeting).await
            }
            Err(error) => {
                let reason = ksync_common::chain(&error);
                tracing::warn!(reason, "syncthing was not started");
                lifeline::say(&mut stream, &Answer::Refused(reason)).await
            }
        },
        // Whoever only looked whether somebody is there.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = answered {
        tracing::warn!(%error, "speak with radar");
    }
}

fn home_name(greeting: &Greeting) -> std::path::Display<'_> {
    greeting.gui.parent().unwrap_or(Path::new("")).display()
}

async fn start(binary: PathBuf, home: PathBuf, spools: PathBuf) -> Result<(Child, Greeting), Error> {
    let prepare = move || {
        let listen = Some(format!("tcp://{}", network::BEP));
        let prepared = Home::prepare(&home, &home.join("gui.sock"), &binary, &HomeOptions { listen })?;
        let exe = std::env::current_exe().map_err(io_error("find", "this program"))?;
        let mut command = Command::new(exe);
        command.arg(BECOME_SYNCTHING).args([&binary, &home, &spools]);
        // SAFETY: it is about this thread's children alone, and it has one.
        unsafe { unshare_unsafe(UnshareFlags::NEWPID) }
            .map_err(|errno| io_error("make a PID namespace for", &binary)(errno.into()))?;
        Ok::<_, Error>((command, prepared))
    };
    let (child, home) = Child::start(prepare).await?;
    let greeting = Greeting { api_key: home.key, gui: home.socket, pid: child.pid };
    Ok((child, greeting))
}

/// Waits for syncthing's end, or for the end of radar's interest.
async fn watch_over(mut stream: UnixStream, mut child: Child, greeting: Greeting) -> io::Result<()> {
    let pid = greeting.pid;
    let answer = Answer::Syncthing(greeting);
    let forsaken = async {
        // Whoever is gone already can't be told.
        if lifeline::say(&mut stream, &answer).await.is_ok() {
            lifeline::closed(&mut stream).await;
        }
        if !guards::on(Guard::Lifeline) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        status = child.exited() => tracing::warn!(pid, status = %status?, "syncthing ended"),
        () = forsaken => {
            child.kill().await?;
            tracing::info!(pid, "syncthing is not needed any more");
        }
    }
    // Only now it is closed.
    drop(stream);
    Ok(())
}

/// `syncthing v1.30.0 "Gold Grasshopper" (...)`.
fn version(binary: &Path) -> io::Result<String> {
    let output = Command::new(binary).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(1).filter(|_| output.status.success());
    version.map(str::to_owned).ok_or_else(|| io::Error::other(format!("it said `{}`", text.trim())))
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
    use std::{io, process::Command, time::Duration};

    use tokio::net::UnixStream;

    use super::{Child, Guard, guards, watch_over};
    use crate::supervisor::lifeline::{Answer, Greeting, closed, hear};

    async fn child(program: &'static str, argument: &'static str) -> Child {
        let prepare = move || {
            let mut command = Command::new(program);
            command.arg(argument);
            io::Result::Ok((command, ()))
        };
        Child::start(prepare).await.unwrap().0
    }

    /// Whether a syncthing ends within two seconds when radar has met it and goes.
    async fn ends_after_radar_left() -> bool {
        let child = child("sleep", "100").await;
        let (mut radar, ours) = UnixStream::pair().unwrap();
        let greeting = Greeting { api_key: "k".into(), gui: "/g".into(), pid: child.pid };
        let meet = async {
            assert_eq!(hear::<Answer>(&mut radar).await.unwrap(), Answer::Syncthing(greeting.clone()));
            drop(radar);
        };
        let watched = tokio::time::timeout(Duration::from_secs(2), watch_over(ours, child, greeting.clone()));
        tokio::join!(watched, meet).0.is_ok()
    }

    /// Without it, syncthing would go on though nobody knows of it.
    #[tokio::test]
    async fn the_dead_mans_switch_holds_alone() {
        let off = guards::off::all_but(&[Guard::Lifeline]);
        assert!(ends_after_radar_left().await);
        drop(off);
        let _off = guards::off::all_but(&[]);
        assert!(!ends_after_radar_left().await);
    }

    #[tokio::test]
    async fn the_connection_ends_with_syncthing_and_not_before() {
        let child = child("sleep", "100").await;
        let process = rustix::process::Pid::from_raw(child.pid).unwrap();
        let (mut radar, ours) = UnixStream::pair().unwrap();
        let greeting = Greeting { api_key: "k".into(), gui: "/g".into(), pid: child.pid };
        let met = async {
            hear::<Answer>(&mut radar).await.unwrap();
            rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
            closed(&mut radar).await;
        };
        let (watched, ()) = tokio::join!(watch_over(ours, child, greeting), met);
        watched.unwrap();
    }
}
