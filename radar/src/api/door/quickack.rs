//! A connection whose every arrival is acknowledged at once.
//!
//! What is between the kubelet and us may leave Nagle's algorithm on (cri-dockerd's socat does): its second small message
//! waits until we have acknowledged the first, which the kernel puts off for up to 40 ms.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A TCP stream that is read as it is written: without delay.
#[derive(Debug)]
pub(super) struct QuickAck(pub(super) TcpStream);

impl AsyncRead for QuickAck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            // The kernel takes it back by itself, so it is said anew each time (tcp(7)). Without it data is only late.
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
        }
        read
    }
}

impl AsyncWrite for QuickAck {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn carries_both_ways_to_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut far = QuickAck(listener.accept().await.unwrap().0);
        let (mut from, mut to) = client.into_split();
        to.write_all(b"there").await.unwrap();
        let mut said = [0; 5];
        far.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"there");
        far.write_all(b"back").await.unwrap();
        far.shutdown().await.unwrap();
        let mut heard = Vec::new();
        from.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"back");
        drop(to);
        assert_eq!(far.read(&mut said).await.unwrap(), 0);
    }
}
