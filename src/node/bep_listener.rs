//! The port on the loopback through which the local syncthing reaches the node's; each connection is
//! carried as one byte stream inside the tunnel.
//!
//! Whoever connects must still prove its device id to our syncthing there (TLS end to end), so the open
//! loopback port gives nobody else anything.
//!
//! syncthing redials a lost device at once only three times in two minutes, and each address every 5 s. So the listener moves
//! to another port when the connection is gone and syncthing does not dial: an address that was never dialled is dialled at once.

mod redial;

use std::{io, net::SocketAddr, sync::Arc};

use ksync_proto::radar::Bytes as Chunk;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::bytes::BytesMut;
use tracing::{debug, warn};

use self::redial::Redial;
use super::{link::Link, state::NodeState};
use crate::blocking;

/// Bytes read at a time; a BEP block request is answered in pieces of up to this.
const CHUNK: usize = 64 << 10;
/// Chunks under way before the reader waits.
const QUEUE: usize = 16;

/// A listening port on the loopback.
pub(super) struct BepListener {
    listener: TcpListener,
    address_tx: watch::Sender<SocketAddr>,
}

impl BepListener {
    pub(super) async fn open() -> io::Result<Self> {
        let (listener, address) = listen().await?;
        Ok(Self { listener, address_tx: watch::Sender::new(address) })
    }

    /// Where it is, now and later.
    pub(super) fn address(&self) -> watch::Receiver<SocketAddr> {
        self.address_tx.subscribe()
    }

    /// Carries every connection over the link that is up, and closes those that come while none is.
    pub(super) async fn serve(mut self, mut state: watch::Receiver<NodeState>) {
        let mut redial = Redial::default();
        let mut carried = JoinSet::new();
        state.mark_changed();
        loop {
            let at = redial.at();
            tokio::select! {
                accepted = self.listener.accept() => {
                    redial.dialled();
                    match accepted {
                        Ok((stream, _)) => {
                            let NodeState::Up(link) = state.borrow().clone() else { continue };
                            redial.carries();
                            carried.spawn(carry_over(stream, link, state.clone()));
                        }
                        Err(error) => {
                            // Out of descriptors, most likely: the next accept may succeed, a spin must not.
                            warn!(%error, "accept a connection of the local syncthing");
                            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        }
                    }
                }
                Some(ended) = carried.join_next() => {
                    redial.ended(blocking::ended(ended), Instant::now());
                }
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    redial.link(matches!(&*state.borrow_and_update(), NodeState::Up(_)), Instant::now());
                }
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    match listen().await {
                        Ok((listener, address)) => {
                            debug!(%address, "the BEP listener moves to another port, so that it is dialled at once");
                            self.listener = listener;
                            self.address_tx.send_replace(address);
                            redial.moved();
                        }
                        Err(error) => {
                            warn!(%error, "move the BEP listener to another port");
                            redial.dialled();
                        }
                    }
                }
            }
        }
    }
}

async fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Carries one connection for as long as its link is up; returns how long that was.
async fn carry_over(
    stream: TcpStream,
    link: Arc<Link>,
    mut state: watch::Receiver<NodeState>,
) -> std::time::Duration {
    let begun = Instant::now();
    let changed = state.wait_for(|s| !matches!(s, NodeState::Up(l) if l.number == link.number));
    let end = tokio::select! {
        end = carry(stream, &link) => end,
        // The link is gone: its syncthing must redial over the next one at once, not after a TCP timeout.
        _ = changed => Ok(()),
    };
    if let Err(error) = end {
        debug!(%error, "a BEP connection ended");
    }
    begun.elapsed()
}

async fn carry(stream: TcpStream, link: &Arc<Link>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut from_local, mut to_local) = stream.into_split();
    let (tx, rx) = mpsc::channel::<Chunk>(QUEUE);
    let up = async move {
        let mut buffer = BytesMut::new();
        loop {
            if buffer.capacity() < CHUNK / 4 {
                buffer.reserve(CHUNK);
            }
            if from_local.read_buf(&mut buffer).await? == 0 {
                return Ok::<_, io::Error>(());
            }
            if tx.send(Chunk { data: buffer.split().freeze() }).await.is_err() {
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
