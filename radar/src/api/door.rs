//! The door: every connection proves a key before a first call is read, and is that key's until its end.
//!
//! Invariant: a call without a [`Peer`] does not exist, and who that is was never said by a client, but proved.

mod connection;
mod peer;
mod quickack;

use std::{io, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, future};
use ksync_keys::{Fingerprint, Server, ServerStream};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

pub(crate) use peer::{Peer, peer};

use connection::Connection;
use quickack::QuickAck;

use crate::api::allowance::{Allowance, Allowances, Kind};

/// Connections that there may be, of all people together: each costs a socket and some kilobytes.
const CONNECTIONS: usize = 1024;
/// Connections that may be proving their keys at once. Those that prove nothing are gone in seconds.
const PROVING: usize = CONNECTIONS;
/// How long that may take. Through an API server it is two round trips.
const LIMIT: Duration = Duration::from_secs(10);

/// Those of the connections that come in which prove a key.
pub(crate) fn through(
    incoming: impl Stream<Item = io::Result<TcpStream>>,
    server: Server,
) -> impl Stream<Item = io::Result<Connection>> {
    let (places, allowances) = (Arc::new(Semaphore::new(CONNECTIONS)), Allowances::default());
    let proved = move |stream: io::Result<TcpStream>| {
        let (server, allowances) = (server.clone(), allowances.clone());
        let place = Arc::clone(&places).try_acquire_owned();
        async move {
            match stream {
                Ok(stream) => {
                    let Ok(place) = place else {
                        tracing::warn!(limit = CONNECTIONS, "a connection too many: it is closed");
                        return None;
                    };
                    let (stream, person) = prove(&server, stream).await?;
                    admit(stream, person, allowances.of(person), place).map(Ok)
                }
                Err(error) => Some(Err(error)),
            }
        }
    };
    incoming.map(proved).buffer_unordered(PROVING).filter_map(future::ready)
}

async fn prove(server: &Server, stream: TcpStream) -> Option<(ServerStream<QuickAck>, Fingerprint)> {
    match tokio::time::timeout(LIMIT, server.accept(QuickAck(stream))).await {
        Ok(Ok(proved)) => Some(proved),
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

/// A person's connections beyond the allowed ones are told so, call by call; beyond twice as many they are closed.
fn admit(
    stream: ServerStream<QuickAck>,
    person: Fingerprint,
    allowance: Arc<Allowance>,
    place: OwnedSemaphorePermit,
) -> Option<Connection> {
    let share = allowance.take(Kind::Connection).map(Arc::new);
    let told = if share.is_ok() { None } else { Some(allowance.take(Kind::Told)) };
    if let Some(Err(exceeded)) = told {
        tracing::warn!(%person, %exceeded, "a connection too many: it is closed");
        return None;
    }
    let told = told.and_then(Result::ok);
    let peer = Peer { person, allowance, share };
    Some(Connection { stream, peer, _told: told, _place: place })
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
    async fn connections_too_many_are_told_so_and_many_more_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(Identity::for_now().unwrap()).unwrap();
        let mut connections = Box::pin(through(TcpIncoming::from(listener), server));
        let client = Client::new(Identity::for_now().unwrap()).unwrap();
        let connect = async || client.connect(TcpStream::connect(address).await.unwrap()).await.unwrap();
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for number in 0..2 * Kind::Connection.most() {
            let (connection, ours) = tokio::join!(connections.next(), connect());
            let connection = connection.unwrap().unwrap();
            assert_eq!(connection.connect_info().share.is_ok(), number < Kind::Connection.most(), "{number}");
            near.push(ours);
            far.push(connection);
        }
        let one_more = async {
            let mut ours = connect().await;
            ours.read(&mut [0]).await
        };
        let read = tokio::select! {
            read = one_more => read,
            _ = connections.next() => panic!("one more came through"),
        };
        assert!(!read.is_ok_and(|count| count > 0));
        // With one gone there is room for one.
        far.pop();
        let (connection, _ours) = tokio::join!(connections.next(), connect());
        assert!(connection.unwrap().is_ok());
    }

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
