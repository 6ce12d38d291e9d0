//! The door: every connection proves a key before a first call is read, and is that key's until its end.
//!
//! Invariant: a call without a [`Peer`] does not exist, and who that is was never said by a client, but proved.

mod connection;
mod peer;
mod quickack;

use std::{io, time::Duration};

use futures::{Stream, StreamExt as _, future};
use ksync_keys::Server;
use tokio::net::TcpStream;

pub(crate) use peer::peer;

use connection::Connection;
use peer::Peer;
use quickack::QuickAck;

/// Connections that may be proving their keys at once: each costs a socket and some kilobytes.
const PROVING: usize = 1024;
/// How long that may take. Through an API server it is two round trips.
const LIMIT: Duration = Duration::from_secs(10);

/// Those of the connections that come in which prove a key.
pub(crate) fn through(
    incoming: impl Stream<Item = io::Result<TcpStream>>,
    server: Server,
) -> impl Stream<Item = io::Result<Connection>> {
    let proved = move |stream: io::Result<TcpStream>| {
        let server = server.clone();
        async move {
            match stream {
                Ok(stream) => prove(&server, stream).await.map(Ok),
                Err(error) => Some(Err(error)),
            }
        }
    };
    incoming.map(proved).buffer_unordered(PROVING).filter_map(future::ready)
}

async fn prove(server: &Server, stream: TcpStream) -> Option<Connection> {
    match tokio::time::timeout(LIMIT, server.accept(QuickAck(stream))).await {
        Ok(Ok((stream, person))) => Some(Connection { stream, peer: Peer { person } }),
        Ok(Err(error)) => {
            tracing::warn!(
                %error,
                "a connection without a key, from an older kubectl-ksync perhaps: it is to be of this version"
            );
            None
        }
        Err(_) => {
            tracing::warn!(limit = ?LIMIT, "a connection that did not prove a key in time");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use ksync_keys::{Client, Identity};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tonic::transport::server::{Connected, TcpIncoming};

    use super::*;

    #[tokio::test]
    async fn who_proves_no_key_holds_nobody_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(Identity::for_now().unwrap()).unwrap();
        let mut connections = Box::pin(through(TcpIncoming::from(listener), server));
        // One that says nothing, and one of the time before keys.
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut old = TcpStream::connect(address).await.unwrap();
        old.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let identity = Identity::for_now().unwrap();
        let person = identity.fingerprint();
        let connecting = async {
            let stream = TcpStream::connect(address).await.unwrap();
            Client::new(identity).unwrap().connect(stream).await.unwrap()
        };
        let (connection, mut near) = tokio::join!(connections.next(), connecting);
        let mut connection = connection.unwrap().unwrap();
        assert_eq!(connection.connect_info().person, person);
        near.write_all(b"a call").await.unwrap();
        let mut said = [0; 6];
        connection.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"a call");
        // Whether by an alert or not: it is closed.
        drop(old.read_to_end(&mut Vec::new()).await);
    }
}
