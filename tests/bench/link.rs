//! A slow network between here and the API server: a TCP proxy on the loopback that holds bytes back (this kernel may
//! have no other means).
//!
//! All connections share the link, as they would at home. What waits in it is bounded, so that senders notice.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ksync_measure::Pacer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::mpsc,
};

use crate::suite::{Sandbox, proxy};

/// As much as a packet or two, so that connections share the link fairly.
const CHUNK: usize = 4096;
/// What may wait in one connection: 256 KB.
const WAITING: usize = 64;

/// How good it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    pub(crate) round_trip_ms: f64,
    /// Bits a second in each direction; none for as fast as it goes.
    pub(crate) bits: Option<f64>,
}

type Direction = Arc<Mutex<Pacer>>;

/// A link that stands until it is dropped.
pub(crate) struct Link {
    address: SocketAddr,
    directions: [Direction; 2],
    _runtime: Runtime,
}

impl Link {
    /// In front of the sandbox's API server.
    pub(crate) fn before(sandbox: &Sandbox, quality: Quality) -> Self {
        let server = proxy::server(sandbox);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a port");
        let address = listener.local_addr().expect("its address");
        let directions = [(); 2].map(|()| Arc::new(Mutex::new(Pacer::open())));
        let [up, down] = directions.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (up, down) = (Arc::clone(&up), Arc::clone(&down));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    for stream in [&client, &server] {
                        let _ = stream.set_nodelay(true);
                    }
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::spawn(carry(from_client, to_server, up));
                    tokio::spawn(carry(from_server, to_client, down));
                });
            }
        });
        let link = Self { address, directions, _runtime: runtime };
        link.set(quality);
        link
    }

    /// Better or worse, from now on.
    pub(crate) fn set(&self, quality: Quality) {
        let delay = Duration::from_secs_f64(quality.round_trip_ms / 2000.0);
        for direction in &self.directions {
            direction.lock().unwrap_or_else(PoisonError::into_inner).set(quality.bits, delay);
        }
    }

    /// A kubeconfig of the sandbox's that leads through it.
    pub(crate) fn kubeconfig(&self, sandbox: &Sandbox) -> PathBuf {
        proxy::through(sandbox, self.address)
    }
}

/// One direction of one connection, to its end.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, pacer: Direction) {
    let (chunk_tx, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(WAITING);
    tokio::spawn(async move {
        while let Some((when, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(when.into()).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // What could not be ended has ended.
        let _ = to.shutdown().await;
    });
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let when = pacer.lock().unwrap_or_else(PoisonError::into_inner).take(read, Instant::now());
        if chunk_tx.send((when, buffer[..read].to_vec())).await.is_err() {
            return;
        }
    }
}
