//! The door: every connection proves a key before a first call is read, and is that key's until its end.
//!
//! Invariant: a call without a [`Peer`] does not exist, and who that is was never said by a client, but proved.

mod connection;
mod peer;
mod quickack;

use std::{collections::HashSet, io, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt as _,
    future::{self, BoxFuture},
};
use ksync_keys::{Fingerprint, Server, ServerStream};
use tokio::net::TcpStream;

pub(crate) use peer::{Peer, peer};

use connection::Connection;
use quickack::QuickAck;

use crate::api::{
    allowance::{Allowance, Allowances, Kind},
    places::{Place, Places},
};

/// Connections that there may be, of all people together: each costs a socket and some kilobytes.
pub(crate) const CONNECTIONS: usize = 1024;
/// Connections that may be on their way through the door at once. Each of them has a place, or is about to get one.
const ON_THEIR_WAY: usize = 2 * CONNECTIONS;
/// How long a connection may take to prove its key. Through an API server it is two round trips.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks who has something attached.
pub(crate) type AtWork = Box<dyn Fn() -> BoxFuture<'static, HashSet<Fingerprint>> + Send + Sync>;

/// Those of the connections that come in which prove a key, each with one of the `places`.
pub(crate) fn through(
    incoming: impl Stream<Item = io::Result<TcpStream>>,
    server: Server,
    places: Places,
    at_work: AtWork,
) -> impl Stream<Item = io::Result<Connection>> {
    let (allowances, at_work) = (Allowances::default(), Arc::new(at_work));
    let proved = move |stream: io::Result<TcpStream>| {
        let (server, allowances) = (server.clone(), allowances.clone());
        let (places, at_work) = (places.clone(), Arc::clone(&at_work));
        async move {
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => return Some(Err(error)),
            };
            let Some(place) = places.find(async { at_work().await }).await else {
                tracing::warn!(limit = CONNECTIONS, "a connection too many: it is closed");
                return None;
            };
            let (stream, person) = prove(&server, stream, &place).await?;
            admit(stream, person, allowances.of(person), place).map(Ok)
        }
    };
    incoming.map(proved).buffer_unordered(ON_THEIR_WAY).filter_map(future::ready)
}

async fn prove(
    server: &Server,
    stream: TcpStream,
    place: &Place,
) -> Option<(ServerStream<QuickAck>, Fingerprint)> {
    let proving = tokio::time::timeout(LIMIT, server.accept(QuickAck(stream)));
    match place.lost.run_until_cancelled(proving).await? {
        Ok(Ok(proved)) => {
            place.is_of(proved.1);
            Some(proved)
        }
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
    place: Place,
) -> Option<Connection> {
    let share = allowance.take(Kind::Connection).map(Arc::new);
    let told = if share.is_ok() { None } else { Some(allowance.take(Kind::Told)) };
    if let Some(Err(exceeded)) = told {
        tracing::warn!(%person, %exceeded, "a connection too many: it is closed");
        return None;
    }
    let told = told.and_then(Result::ok);
    let peer = Peer { person, allowance, share };
    Some(Connection::new(stream, peer, told, place))
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

    /// How long anything may take: less than a connection has for its proof.
    const SOON: Duration = Duration::from_secs(5);

    fn nobody_works() -> AtWork {
        Box::new(|| Box::pin(future::ready(HashSet::new())))
    }

    /// The attack: connections that prove nothing, or keys that were made for it, as many as there are places.
    #[tokio::test]
    async fn who_holds_all_places_keeps_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(Identity::for_now().unwrap()).unwrap();
        let busy = Identity::for_now().unwrap();
        let person = busy.fingerprint();
        let at_work: AtWork = Box::new(move || Box::pin(future::ready(HashSet::from([person]))));
        let incoming = TcpIncoming::from(listener);
        let mut connections = Box::pin(through(incoming, server, Places::new(4), at_work));
        let connect = async |identity| {
            let stream = TcpStream::connect(address).await.unwrap();
            Client::new(identity).unwrap().connect(stream).await.unwrap()
        };
        let (far, mut at_work) = tokio::join!(connections.next(), connect(busy));
        let mut far_at_work = far.unwrap().unwrap();
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut made = Vec::new();
        for number in 0..8 {
            let both = async { tokio::join!(connections.next(), connect(Identity::for_now().unwrap())) };
            let both = tokio::time::timeout(SOON, both).await;
            let (far, near) = both.unwrap_or_else(|_| panic!("number {number} does not get in"));
            made.push((near, far.unwrap().unwrap()));
        }
        for mut silent in silent {
            let end = tokio::time::timeout(SOON, silent.read(&mut [0])).await.expect("it is closed");
            assert!(!end.is_ok_and(|count| count > 0));
        }
        let ended = tokio::time::timeout(SOON, made[0].1.read(&mut [0])).await.expect("its place is lost");
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        at_work.write_all(b"an edit").await.unwrap();
        let mut edit = [0; 7];
        far_at_work.read_exact(&mut edit).await.unwrap();
        assert_eq!(&edit, b"an edit");
    }

    #[tokio::test]
    async fn connections_too_many_are_told_so_and_many_more_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(Identity::for_now().unwrap()).unwrap();
        let mut connections =
            Box::pin(through(TcpIncoming::from(listener), server, Places::new(CONNECTIONS), nobody_works()));
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
        let mut connections =
            Box::pin(through(TcpIncoming::from(listener), server, Places::new(CONNECTIONS), nobody_works()));
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
