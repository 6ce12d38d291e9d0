//! A connection that came through the door: its bytes, and whose it is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use ksync_keys::ServerStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::{peer::Peer, quickack::QuickAck};
use crate::api::{allowance::Share, places::Place};

/// A connection whose key was proved.
pub(crate) struct Connection {
    stream: ServerStream<QuickAck>,
    peer: Peer,
    lost: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Of those that are only told that they are too many.
    _told: Option<Share>,
    _place: Place,
}

impl Connection {
    pub(super) fn new(stream: ServerStream<QuickAck>, peer: Peer, told: Option<Share>, place: Place) -> Self {
        let lost = Box::pin(place.lost.clone().cancelled_owned());
        Self { stream, peer, lost, _told: told, _place: place }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // HTTP/2 reads at all times.
        if self.lost.as_mut().poll(cx).is_ready() {
            let reason = "there are too many connections, and this one's key has nothing attached";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}
