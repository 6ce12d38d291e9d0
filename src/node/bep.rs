//! The door through which the local syncthing reaches the node's: a loopback port, each connection
//! carried as one byte stream inside the tunnel.
//!
//! Whoever connects must still prove its device id to the node's syncthing (TLS end to end), so the open
//! loopback port gives nobody else anything.

use std::{io, net::SocketAddr, sync::Arc};

use ksync_proto::radar::Bytes as Chunk;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::{Link, NodeState};

/// Bytes read at a time; a BEP block request is answered in pieces of up to this.
const CHUNK: usize = 64 << 10;
/// Chunks under way before the reader waits.
const QUEUE: usize = 16;

/// A listening port on the loopback.
pub(super) struct Door {
    listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Door {
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Carries every connection over the link that is up, and closes those that come while none is.
    pub(super) async fn serve(self, mut state: watch::Receiver<NodeState>) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: the next accept may succeed, a spin must not.
                    warn!(%error, "accept a connection of the local syncthing");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let NodeState::Up(link) = state.borrow_and_update().clone() else { continue };
            let mut state = state.clone();
            tokio::spawn(async move {
                let changed = state.wait_for(|s| !matches!(s, NodeState::Up(l) if l.number == link.number));
                let end = tokio::select! {
                    end = carry(stream, &link) => end,
                    // The link is gone: its syncthing must redial over the next one at once, not after a TCP timeout.
                    _ = changed => Ok(()),
                };
                if let Err(error) = end {
                    debug!(%error, "a BEP connection ended");
                }
            });
        }
    }
}

async fn carry(stream: TcpStream, link: &Arc<Link>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut from_local, mut to_local) = stream.into_split();
    let (tx, rx) = mpsc::channel::<Chunk>(QUEUE);
    let up = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = from_local.read(&mut buffer).await?;
            if read == 0 {
                return Ok::<_, io::Error>(());
            }
            let data = buffer.get(..read).unwrap_or_default().to_vec();
            if tx.send(Chunk { data: data.into() }).await.is_err() {
                return Ok(());
            }
        }
    };
    let mut radar = link.radar.clone();
    let down = async move {
        let answer = radar.bep(ReceiverStream::new(rx)).await.map_err(broken)?;
        let mut chunks = answer.into_inner();
        while let Some(chunk) = chunks.message().await.map_err(broken)? {
            to_local.write_all(&chunk.data).await?;
        }
        to_local.shutdown().await
    };
    // BEP does not live on with one direction closed, so the first end is the end of both.
    tokio::select! {
        end = up => end,
        end = down => end,
    }
}

fn broken(status: tonic::Status) -> io::Error {
    io::Error::other(status.message().to_owned())
}
