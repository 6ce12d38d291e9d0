//! The node's syncthing as `radar serve` reaches it: its REST API, device id and mount namespace, and word of its end.
//!
//! Invariant: a [`NodeSyncthing`] is published only after everything that an earlier radar may have left in that syncthing
//! (folders, devices, binds) is gone, and withdrawn when that very process can no longer be relied on.

use std::{io, path::Path, sync::Arc, time::Duration};

use rustix::net::sockopt::socket_peercred;
use syncthing::{Client, Error as SyncthingError};
use tokio::{
    net::UnixStream,
    sync::{Mutex, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    container::mount::{self, left_over},
    paths::Paths,
    supervisor::lifeline,
};
use ksync_common::Backoff;

/// How long a fresh syncthing may take to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Why the node's syncthing is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// `radar syncthing` is not reached.
    #[error("reach `radar syncthing` on `{socket}`")]
    Lifeline {
        /// The socket.
        socket: String,
        /// The system's word.
        source: io::Error,
    },
    /// syncthing does not answer, or refuses.
    #[error(transparent)]
    Syncthing(#[from] SyncthingError),
    /// Old binds could not be taken away.
    #[error(transparent)]
    Mount(#[from] mount::Error),
}

/// A syncthing that is there and belongs to this radar.
#[derive(Debug)]
pub(crate) struct NodeSyncthing {
    /// Its REST API.
    pub(crate) client: Client,
    /// Of its parent: whose mount namespace is syncthing's too, and outlives it.
    pub(crate) supervisor_pid: i32,
    /// Device id.
    pub(crate) device_id: String,
    /// For example `v1.30.0`.
    pub(crate) version: String,
    /// Held while a client's device is added or removed.
    pub(crate) devices: Mutex<()>,
}

#[cfg(test)]
impl NodeSyncthing {
    /// Whatever answers on `socket`.
    pub(crate) fn at(socket: &Path) -> Self {
        // Another test may have done so.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self {
            client: Client::unix(socket, "key").unwrap(),
            supervisor_pid: 0,
            device_id: String::new(),
            version: String::new(),
            devices: Mutex::default(),
        }
    }
}

/// The syncthing of the moment, if there is one.
pub(crate) type NodeSyncthingRx = watch::Receiver<Option<Arc<NodeSyncthing>>>;

/// Reaches the node's syncthing again and again until `stop`. this task --syncthing_tx--> registry and handlers.
pub(crate) async fn stay_connected(
    paths: Paths,
    syncthing_tx: watch::Sender<Option<Arc<NodeSyncthing>>>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    while !stop.is_cancelled() {
        let established = tokio::select! {
            established = establish(&paths) => established,
            () = stop.cancelled() => return,
        };
        match established {
            Ok((syncthing, mut stream)) => {
                backoff.reset();
                tracing::info!(
                    device = syncthing.device_id,
                    version = syncthing.version,
                    "syncthing is here"
                );
                syncthing_tx.send_replace(Some(Arc::new(syncthing)));
                tokio::select! {
                    () = lifeline::closed(&mut stream) => tracing::warn!("syncthing is gone"),
                    // The connection stays until the process ends, so that nothing is killed in the meantime.
                    () = stop.cancelled() => return std::future::pending().await,
                }
                syncthing_tx.send_replace(None);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no syncthing yet");
            }
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

async fn establish(paths: &Paths) -> Result<(NodeSyncthing, UnixStream), Error> {
    let socket = paths.lifeline();
    let failed = |source: io::Error| Error::Lifeline { socket: socket.display().to_string(), source };
    let mut stream = UnixStream::connect(&socket).await.map_err(failed)?;
    let supervisor_pid = socket_peercred(&stream).map_err(|errno| failed(errno.into()))?.pid;
    let greeting = tokio::time::timeout(ANSWER, lifeline::hear(&mut stream))
        .await
        .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    let client = Client::unix(&greeting.gui, &greeting.api_key)?;
    let device_id = tokio::select! {
        answered = answer(&client) => answered?,
        () = lifeline::closed(&mut stream) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
    };
    let supervisor_pid = supervisor_pid.as_raw_nonzero().get();
    purge(&client, &device_id, supervisor_pid, paths.sync()).await?;
    let version = client.version().await?;
    let devices = Mutex::new(());
    let syncthing = NodeSyncthing { client, supervisor_pid, device_id, version, devices };
    Ok((syncthing, stream))
}

/// Waits until syncthing answers, and returns its device id.
async fn answer(client: &Client) -> Result<String, SyncthingError> {
    let started = tokio::time::Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
    loop {
        match client.my_id().await {
            Err(error) if error.is_connection() && started.elapsed() < ANSWER => {
                tokio::time::sleep(backoff.delay()).await;
            }
            other => return other,
        }
    }
}

/// Folders first, then what is bound: the other way round would look like a deletion of everything.
async fn purge(client: &Client, own: &str, supervisor_pid: i32, sync: &Path) -> Result<(), Error> {
    for folder in client.folders().await? {
        client.delete_folder(&folder.id).await?;
        tracing::info!(folder = folder.id, "removed a folder that was left behind");
    }
    for device in client.devices().await? {
        if device.id != own {
            client.delete_device(&device.id).await?;
        }
    }
    for mount_point in left_over::sweep(supervisor_pid, sync).await? {
        tracing::info!(mount_point = %mount_point.display(), "unbound a directory that was left behind");
    }
    Ok(())
}
