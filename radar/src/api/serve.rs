//! `radar serve`: the parts put together, and taken apart in good order.
//!
//! Invariant: nobody but the pod itself can connect. When it is told to stop, all folders are removed and all
//! directories unbound before it ends, within a deadline.

mod quickack;

use std::{io, net::SocketAddr, path::Path, time::Duration};

use ksync_proto::radar::radar_server::RadarServer;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use quickack::QuickAck;

use crate::{
    api::handlers::Handlers, container::runtime::Runtimes, paths::Paths, reload::Reloader,
    supervisor::node_syncthing, sync::registry::Registry,
};

/// How long the good order may take.
const STOP: Duration = Duration::from_secs(10);
/// How often the other side is asked whether it is there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Window of one stream: what 200 MB/s and 5 ms through an API server take. At 20 Mbit/s it is 0.4 s, which keeps a
/// connection alive.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Window of the connection: bulk streams that are stuck leave room for the others.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Largest frame, so that a small message waits for no more than this.
const FRAME: u32 = 16 * 1024;
/// Largest message; paths to fetch come in one.
const MESSAGE: usize = 64 * 1024 * 1024;

/// Why radar can't serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The address is taken.
    #[error("listen on `{address}`")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// Signals can't be taken.
    #[error("take signals")]
    Signals(#[source] io::Error),
    /// The server failed.
    #[error("serve on `{address}`")]
    Serve {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// Serves on `address` until SIGTERM or SIGINT.
pub(crate) async fn run(paths: Paths, address: SocketAddr, host: &Path) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).map(|stream| stream.map(QuickAck));
    let stop = CancellationToken::new();
    let (syncthing_tx, syncthing_rx) = watch::channel(None);
    tokio::spawn(node_syncthing::stay_connected(paths.clone(), syncthing_tx, stop.clone()));
    let registry = Registry::spawn(syncthing_rx.clone(), paths.clone());
    let runtimes = Runtimes::below(host);
    let handlers = Handlers {
        registry: registry.clone(),
        reloader: Reloader::new(runtimes.clone()),
        runtimes,
        syncthing_rx,
        paths,
        stop: stop.clone(),
    };
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .add_service(RadarServer::new(handlers).max_decoding_message_size(MESSAGE))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let mut server = tokio::spawn(server);
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "radar serves");
    tokio::select! {
        served = &mut server => return ended(address, served),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("radar stops: removing all folders");
    let in_order = async {
        registry.shutdown().await;
        stop.cancel();
        ended(address, server.await)
    };
    tokio::time::timeout(STOP, in_order).await.unwrap_or_else(|_| {
        tracing::error!("not all was removed within {} s; syncthing is killed by its parent", STOP.as_secs());
        Ok(())
    })
}

fn ended(
    address: SocketAddr,
    served: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>,
) -> Result<(), Error> {
    match served {
        Ok(served) => served.map_err(|source| Error::Serve { address, source }),
        Err(error) => Err(Error::Listen { address, source: io::Error::other(error) }),
    }
}
