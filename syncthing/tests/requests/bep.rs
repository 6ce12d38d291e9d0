//! A device that speaks syncthing's protocol by itself, and asks what no syncthing would ask
//! (<https://docs.syncthing.net/specs/bep-v1.html>).

use std::io;

use ksync_keys::{Client, ClientStream, Identity};
use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Before the greeting of either side.
const MAGIC: u32 = 0x2EA7_D90B;
const CLUSTER_CONFIG: i32 = 0;
const REQUEST: i32 = 3;
const RESPONSE: i32 = 4;

#[derive(Clone, PartialEq, Message)]
struct Hello {
    #[prost(string, tag = "1")]
    device_name: String,
    #[prost(string, tag = "2")]
    client_name: String,
    #[prost(string, tag = "3")]
    client_version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(int32, tag = "2")]
    compression: i32,
}

/// Of a part of a file.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(int32, tag = "1")]
    /// Given by [`Peer::ask`].
    pub(crate) id: i32,
    #[prost(string, tag = "2")]
    pub(crate) folder: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(int64, tag = "4")]
    pub(crate) offset: i64,
    #[prost(int32, tag = "5")]
    pub(crate) size: i32,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) hash: Vec<u8>,
    #[prost(bool, tag = "7")]
    pub(crate) from_temporary: bool,
}

/// To a request: bytes, or a code other than 0 (1 is generic, 2 no such file, 3 invalid).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(int32, tag = "1")]
    id: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
    #[prost(int32, tag = "3")]
    pub(crate) code: i32,
}

/// A connection to a syncthing that knows this device, and sends it nothing compressed.
pub(crate) struct Peer {
    stream: ClientStream<TcpStream>,
    asked: i32,
}

impl Peer {
    /// Dials the `port` of the loopback.
    pub(crate) async fn dial(port: u16, identity: Identity) -> io::Result<Self> {
        let keys = Client::speaking(identity, b"bep/1.0").map_err(io::Error::other)?;
        let mut stream = keys.connect(TcpStream::connect(("127.0.0.1", port)).await?).await?;
        let hello = Hello {
            device_name: "peer".into(),
            client_name: "syncthing".into(),
            client_version: "v1.30.0".into(),
        };
        let hello = hello.encode_to_vec();
        let length = u16::try_from(hello.len()).map_err(io::Error::other)?;
        stream.write_all(&[&MAGIC.to_be_bytes()[..], &length.to_be_bytes(), &hello].concat()).await?;
        let mut peer = Self { stream, asked: 0 };
        if peer.stream.read_u32().await? != MAGIC {
            return Err(io::Error::other("another protocol"));
        }
        let length = peer.stream.read_u16().await?;
        peer.take(length.into()).await?;
        peer.say(CLUSTER_CONFIG, &[]).await?;
        Ok(peer)
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    async fn say(&mut self, kind: i32, message: &[u8]) -> io::Result<()> {
        let header = Header { kind, compression: 0 }.encode_to_vec();
        let lengths = u16::try_from(header.len()).and_then(|h| Ok((h, u32::try_from(message.len())?)));
        let (short, long) = lengths.map_err(io::Error::other)?;
        let frame = [&short.to_be_bytes()[..], &header, &long.to_be_bytes(), message].concat();
        self.stream.write_all(&frame).await
    }

    /// Asks, and hears the answer; what else comes meanwhile is passed over.
    pub(crate) async fn ask(&mut self, request: Request) -> io::Result<Response> {
        self.asked += 1;
        self.say(REQUEST, &Request { id: self.asked, ..request }.encode_to_vec()).await?;
        loop {
            let length = self.stream.read_u16().await?;
            let header = Header::decode(&*self.take(length.into()).await?)?;
            let length = self.stream.read_u32().await?;
            let message = self.take(usize::try_from(length).map_err(io::Error::other)?).await?;
            if header.kind == RESPONSE {
                assert_eq!(header.compression, 0, "nothing is to be compressed for this device");
                let response = Response::decode(&*message)?;
                assert_eq!(response.id, self.asked);
                return Ok(response);
            }
        }
    }
}
