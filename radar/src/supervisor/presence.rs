//! Whether `radar syncthing` is there, as `radar serve` sees it.
//!
//! Invariant: it is said to be there only while its connection is open.

use std::{path::PathBuf, time::Duration};

use ksync_common::Backoff;
use rustix::net::sockopt::socket_peercred;
use tokio::{net::UnixStream, sync::watch};

use crate::supervisor::lifeline::{self, Answer, Ask};

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The parent of the syncthings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Supervisor {
    /// Its process.
    pub(crate) pid: i32,
    /// Of syncthing, for example `v1.30.0`.
    pub(crate) version: String,
}

/// The one of the moment, if there is one.
pub(crate) type SupervisorRx = watch::Receiver<Option<Supervisor>>;

/// Meets it again and again. this task --supervisor_tx--> handlers.
pub(crate) async fn follow(socket: PathBuf, supervisor_tx: watch::Sender<Option<Supervisor>>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        match tokio::time::timeout(ANSWER, meet(&socket)).await.unwrap_or_else(|late| Err(late.into())) {
            Ok((supervisor, mut stream)) => {
                backoff.reset();
                tracing::info!(version = supervisor.version, "syncthing can be started");
                supervisor_tx.send_replace(Some(supervisor));
                lifeline::closed(&mut stream).await;
                supervisor_tx.send_replace(None);
                tracing::warn!("`radar syncthing` is gone");
            }
            Err(error) => {
                tracing::warn!(%error, socket = %socket.display(), "no `radar syncthing` yet");
            }
        }
        backoff.wait().await;
    }
}

async fn meet(socket: &PathBuf) -> std::io::Result<(Supervisor, UnixStream)> {
    let mut stream = UnixStream::connect(socket).await?;
    let pid = socket_peercred(&stream)?.pid.as_raw_nonzero().get();
    lifeline::say(&mut stream, &Ask::Presence).await?;
    match lifeline::hear(&mut stream).await? {
        Answer::Presence(version) => Ok((Supervisor { pid, version }, stream)),
        other => Err(std::io::Error::other(format!("it said {other:?}"))),
    }
}
