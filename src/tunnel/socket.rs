//! A forwarded port as a byte stream, right on its WebSocket.
//!
//! kube's own forwarder passes each byte through two tasks and a pipe, and cuts what is sent into messages of 4 KB: an edit
//! waits for the tasks, a large file for the messages. Here whoever reads and writes drives the WebSocket itself.
//!
//! Protocol: a message's first byte is its channel, 0 for data, 1 for errors; the first message of each tells the port.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// Largest message, so that what is urgent waits for no more than this.
const CHUNK: usize = 32 * 1024;
const DATA: u8 = 0;

/// The stream. `S` is a WebSocket.
pub(super) struct Socket<S> {
    messages: S,
    /// What came and was not read yet.
    now: Bytes,
    /// Whether data and errors have told their port.
    port_told: [bool; 2],
}

impl<S> Socket<S> {
    pub(super) fn new(messages: S) -> Self {
        Self { messages, now: Bytes::new(), port_told: [false; 2] }
    }

    /// The data of a message, if it has any; an error when the far side tells of one.
    fn take(&mut self, mut message: Bytes) -> io::Result<Option<Bytes>> {
        let Some(&channel) = message.first() else { return Ok(None) };
        let data = message.split_off(1);
        let port_told = self.port_told.get_mut(usize::from(channel));
        let port_told =
            port_told.ok_or_else(|| io::Error::other(format!("a message on channel {channel}")))?;
        if !std::mem::replace(port_told, true) {
            return Ok(None);
        }
        if channel == DATA {
            return Ok(Some(data));
        }
        Err(io::Error::other(String::from_utf8_lossy(&data).into_owned()))
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl<S: Stream<Item = Result<Message, Error>> + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.now.is_empty() {
            match ready!(Pin::new(&mut self.messages).poll_next(cx)) {
                Some(Ok(Message::Binary(message))) => {
                    if let Some(data) = self.take(message)? {
                        self.now = data;
                    }
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                // Pings are answered by the WebSocket.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let count = self.now.len().min(buf.remaining());
        buf.put_slice(&self.now.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: Sink<Message, Error = Error> + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    /// TLS has a piece for each record; they go in one message as far as there is room.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.messages).poll_ready(cx)).map_err(broken)?;
        let count = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(CHUNK);
        let mut message = Vec::with_capacity(count + 1);
        message.push(DATA);
        for piece in pieces {
            let room = count + 1 - message.len();
            message.extend(piece.iter().take(room));
        }
        Pin::new(&mut self.messages).start_send(Message::binary(message)).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.messages).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.messages).poll_close(cx).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use futures::{SinkExt, StreamExt};
    use ksync_keys::{Client, Identity, Server};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{Message, protocol::Role},
    };

    use super::{CHUNK, Socket};

    /// A forwarded port and the API server's end of its WebSocket.
    async fn forwarded()
    -> (Socket<WebSocketStream<tokio::io::DuplexStream>>, WebSocketStream<tokio::io::DuplexStream>) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let mut far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        for channel in [0, 1] {
            far.send(Message::binary(vec![channel, 0x81, 0x9d])).await.unwrap();
        }
        (Socket::new(near), far)
    }

    #[tokio::test]
    async fn bytes_keep_their_order_both_ways_in_large_messages() {
        let (mut near, mut far) = forwarded().await;
        let sent: Vec<u8> = (0..=255).cycle().take(CHUNK * 2 + 1000).collect();
        near.write_all(&sent).await.unwrap();
        near.flush().await.unwrap();
        let (mut got, mut sizes) = (Vec::new(), Vec::new());
        while got.len() < sent.len() {
            let Some(Ok(Message::Binary(message))) = far.next().await else { panic!("no message") };
            assert_eq!(message[0], 0);
            sizes.push(message.len() - 1);
            got.extend_from_slice(&message[1..]);
        }
        assert_eq!((got, sizes), (sent, vec![CHUNK, CHUNK, 1000]));
        for part in [&b"\0he"[..], b"\0", b"\0llo"] {
            far.send(Message::binary(part.to_vec())).await.unwrap();
        }
        let mut answer = [0; 5];
        near.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        far.close(None).await.unwrap();
        assert_eq!(near.read(&mut answer).await.unwrap(), 0, "a close is the end");
    }

    #[tokio::test]
    async fn pieces_go_in_one_message_as_far_as_there_is_room() {
        let (mut near, mut far) = forwarded().await;
        let large = vec![7; CHUNK];
        let pieces = [IoSlice::new(b"a rec"), IoSlice::new(b""), IoSlice::new(b"ord"), IoSlice::new(&large)];
        assert_eq!(near.write_vectored(&pieces[..3]).await.unwrap(), 8);
        assert_eq!(near.write_vectored(&pieces).await.unwrap(), CHUNK);
        near.flush().await.unwrap();
        assert_eq!(far.next().await.unwrap().unwrap(), Message::binary(&b"\0a record"[..]));
        let message = far.next().await.unwrap().unwrap().into_data();
        assert_eq!((&message[..9], message.len()), (&b"\0a record"[..], CHUNK + 1));
    }

    /// What is written has to leave without anything more being read, and each edit in one message.
    #[tokio::test]
    async fn a_key_is_proved_through_it_and_a_write_is_a_message() {
        let (near, mut far) = forwarded().await;
        let (mut wire, radars_end) = tokio::io::duplex(1 << 16);
        let client = Client::new(Identity::for_now().unwrap()).unwrap();
        let radar = Server::new(Identity::for_now().unwrap()).unwrap();
        let carrying = async {
            let mut buffer = vec![0; 1 << 16];
            loop {
                tokio::select! {
                    message = far.next() => {
                        let message = message.unwrap().unwrap().into_data();
                        wire.write_all(&message[1..]).await.unwrap();
                    }
                    read = wire.read(&mut buffer) => {
                        let count = read.unwrap();
                        let message = [&[0], &buffer[..count]].concat();
                        far.send(Message::binary(message)).await.unwrap();
                    }
                }
            }
        };
        let proving = async { tokio::join!(client.connect(near), radar.accept(radars_end)) };
        let (near, through) = tokio::select! {
            proved = proving => proved,
            () = carrying => unreachable!(),
        };
        let (mut near, (mut through, _)) = (near.unwrap(), through.unwrap());
        near.write_all(b"an edit").await.unwrap();
        near.flush().await.unwrap();
        let message = far.next().await.unwrap().unwrap().into_data();
        wire.write_all(&message[1..]).await.unwrap();
        let mut edit = [0; 7];
        through.read_exact(&mut edit).await.unwrap();
        assert_eq!(&edit, b"an edit");
    }

    #[tokio::test]
    async fn what_the_far_side_says_on_the_error_channel_is_the_error() {
        let (mut near, mut far) = forwarded().await;
        far.send(Message::binary(b"\x01connection refused".to_vec())).await.unwrap();
        let error = near.read(&mut [0; 5]).await.unwrap_err();
        assert_eq!(error.to_string(), "connection refused");
        let (mut near, mut far) = forwarded().await;
        far.send(Message::binary(b"\x07?".to_vec())).await.unwrap();
        assert!(near.read(&mut [0; 5]).await.is_err(), "a channel that was not asked for");
    }
}
