//! `radar serve`: the parts put together, and taken apart in good order.
//!
//! Invariant: nobody but the pod itself can connect, and nobody without a key. When it is told to stop, all that is held is
//! let go of before it ends, within a deadline.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use futures::FutureExt as _;
use ksync_keys::{Identity, Server as Keys};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    api::{
        door,
        handlers::{Handlers, PROOFS},
        places::Places,
        sizes::Calls as Sizes,
    },
    container::runtime::Runtimes,
    paths::Paths,
    reload::Reloader,
    supervisor::presence,
    sync::{endpoints::Endpoints, registry::Registry, spools::Spools},
};

pub(crate) use crate::api::allowance::THREADS;

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
/// Calls of one connection at once. Further ones wait on the other side, which knows the number.
const CALLS: u32 = 200;

/// Largest head of a call, which has a name or two and some words of gRPC's.
const HEAD: u32 = 8 * 1024;
/// Calls that were given up before radar came to read of them, at most. A stall of the tunnel gathers them: each edit gives
/// up the question about the one before, and h2 takes more than 20 for an attack and ends the connection, and with it every
/// attachment of the node. A stall longer than the keepalive's two limits ends the connection anyway, and a watcher does not
/// make this many in that time. Somebody else who does has this many heads in radar's memory for a moment.
const GIVEN_UP: usize = 4096;

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
    /// There is no certificate to answer with.
    #[error(transparent)]
    Keys(#[from] ksync_keys::Error),
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
    // Nobody knows it beforehand, and nobody has to: see the keys' client.
    let keys = Keys::new(Identity::for_now()?)?;
    let stop = CancellationToken::new();
    let (supervisor_tx, supervisor_rx) = watch::channel(None);
    tokio::spawn(presence::follow(paths.lifeline(), supervisor_tx));
    let spools = Spools::below(paths.sessions(), paths.lifeline());
    let registry = Registry::spawn(spools.clone());
    let at_work = {
        let registry = registry.clone();
        move || {
            let registry = registry.clone();
            async move { registry.holding().await }.boxed()
        }
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let places = Places::new(door::CONNECTIONS);
    let incoming = door::through(incoming, keys, places, Box::new(at_work));
    let runtimes = Runtimes::below(host);
    let handlers = Handlers {
        registry: registry.clone(),
        endpoints: Endpoints::default(),
        spools,
        reloader: Reloader::new(runtimes.clone()),
        runtimes,
        supervisor_rx,
        paths,
        proofs: Places::new(PROOFS),
        stop: stop.clone(),
    };
    let server = settings()
        .add_service(Sizes::new(handlers))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let mut server = tokio::spawn(server);
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "radar serves");
    tokio::select! {
        served = &mut server => return ended(address, served),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("radar stops: letting go of everything");
    let in_order = async {
        registry.shutdown().await;
        stop.cancel();
        ended(address, server.await)
    };
    tokio::time::timeout(STOP, in_order).await.unwrap_or_else(|_| {
        tracing::error!("not all was let go of within {} s", STOP.as_secs());
        Ok(())
    })
}

/// HTTP/2 as radar speaks it.
fn settings() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEAD)
        .http2_max_pending_accept_reset_streams(Some(GIVEN_UP))
        .max_concurrent_streams(Some(CALLS))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tonic::service::Routes;

    use super::settings;

    /// RFC 9113.
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const PING: u8 = 6;
    const GO_AWAY: u8 = 7;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Makes calls and gives them up, all at once, and asks the question of a keepalive after them; whether that is answered.
    async fn given_up_at_once(calls: u32) -> Result<(), String> {
        let (client, server) = tokio::io::duplex(1 << 20);
        let incoming = tokio_stream::once(std::io::Result::Ok(server));
        let serving = tokio::spawn(settings().add_routes(Routes::default()).serve_with_incoming(incoming));
        // What a stalled tunnel hands over in one piece: calls, each with its end.
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        // POST, http, path `/`, authority `r`: no more than what h2 wants of a request.
        let call = [0x83, 0x86, 0x84, 0x01, 0x01, b'r'];
        for n in 0..calls {
            bytes.extend(frame(HEADERS, 0x5, 2 * n + 1, &call));
            bytes.extend(frame(RESET, 0, 2 * n + 1, &8_u32.to_be_bytes()));
        }
        bytes.extend(frame(PING, 0, 0, &[0; 8]));
        let (mut answers, mut calls) = tokio::io::split(client);
        calls.write_all(&bytes).await.unwrap();
        let answered = loop {
            let mut head = [0; 9];
            answers.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            answers.read_exact(&mut payload).await.unwrap();
            match head[3] {
                GO_AWAY => break Err(String::from_utf8_lossy(&payload[8..]).into_owned()),
                PING if head[4] == 1 => break Ok(()),
                _ => {}
            }
        };
        serving.abort();
        answered
    }

    #[tokio::test]
    async fn many_calls_that_are_given_up_at_once_leave_the_connection_up() {
        assert_eq!(given_up_at_once(2000).await, Ok(()));
    }

    /// The attack: heads of calls, for radar's memory.
    #[tokio::test]
    async fn more_than_a_watcher_ever_gives_up_end_the_connection() {
        assert_eq!(given_up_at_once(10_000).await, Err("too_many_resets".to_owned()));
    }
}
