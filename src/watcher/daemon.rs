//! Putting a watcher in the background: our own binary is started anew, detaches, and reports over a pipe.
//!
//! It forks before any thread, runtime or TLS exists, and says `ready` only after it has opened its socket
//! and answered itself; until then its error sentence comes back to the command that started it.

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use daemonize::{Daemonize, Outcome};

use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    home::Home,
    printer::UserError,
};

/// The hidden verb of the process that detaches.
pub(crate) const STEP: &str = "__watch";
const READY: &str = "ready";
/// A log larger than this is moved aside at the next start.
const LOG_LIMIT: u64 = 8 << 20;

/// Why no watcher is in the background.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The state directory can't be made.
    #[error(transparent)]
    Home(#[from] crate::home::Error),
    /// Our own binary can't be run.
    #[error("start the watcher in the background")]
    Start(#[source] io::Error),
}

/// Starts a watcher in the background and waits until it is ready.
pub(crate) fn spawn(home: &Home, args: &ClusterArgs, cluster: &ClusterConfig) -> anyhow::Result<()> {
    let dir = home.context(&cluster.context, &cluster.hash());
    dir.create()?;
    let exe = std::env::current_exe().map_err(Error::Start)?;
    let output = Command::new(exe)
        .args(args.forward(&cluster.context))
        .arg(STEP)
        .arg(dir.log())
        // Its working directory will be `/`, so nothing may be relative any more.
        .env("KUBECONFIG", cluster.paths_joined())
        .env("KSYNC_HOME", home.root())
        .stdin(Stdio::null())
        .output()
        .map_err(Error::Start)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let part = |prefix: &str| said.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
    let log = dir.log();
    let message = part("error: ").unwrap_or_else(|| format!("the watcher did not start ({})", output.status));
    let hint = part("hint: ").unwrap_or_else(|| format!("its log is `{}`", log.display()));
    Err(UserError::new(message, hint).into())
}

/// How a detached watcher tells the command that waits for it.
pub(crate) struct Report(Option<PipeWriter>);

impl Report {
    /// Everything stands.
    pub(crate) fn ready(mut self) {
        self.send(READY);
    }

    /// It can't be; `text` is what the command prints.
    pub(crate) fn failed(mut self, text: &str) {
        self.send(text);
    }

    fn send(&mut self, text: &str) {
        if let Some(mut pipe) = self.0.take()
            && let Err(error) = pipe.write_all(text.as_bytes())
        {
            tracing::warn!(%error, "report to the command that started this watcher");
        }
    }
}

/// Detaches this process. The process that was called waits for the detached one's report and ends with it;
/// in the detached one, `watch` is run.
pub(crate) fn detach(log: &Path, watch: impl FnOnce(Report) -> ExitCode) -> io::Result<ExitCode> {
    let (mut reader, writer) = io::pipe()?;
    let log = open_log(log)?;
    let daemon = Daemonize::new().working_directory("/").umask(0o077).stdout(log.try_clone()?).stderr(log);
    match daemon.execute() {
        Outcome::Parent(Ok(_)) => {
            drop(writer);
            let mut report = String::new();
            reader.read_to_string(&mut report)?;
            if report == READY {
                return Ok(ExitCode::SUCCESS);
            }
            anstream::stderr().write_all(report.as_bytes())?;
            Ok(ExitCode::FAILURE)
        }
        Outcome::Parent(Err(error)) | Outcome::Child(Err(error)) => Err(io::Error::other(error)),
        Outcome::Child(Ok(_)) => {
            drop(reader);
            Ok(watch(Report(Some(writer))))
        }
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if path.metadata().is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        let mut old = PathBuf::from(path).into_os_string();
        old.push(".1");
        std::fs::rename(path, old)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
