//! Connecting to radar: tunnel, proof of our key, HTTP/2 with keepalive, version check, session.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::FutureExt as _;
use hyper_util::rt::TokioIo;
use ksync_keys::Client;
use ksync_proto::radar::{
    SessionEvent, SessionRequest, VersionReply, VersionRequest, radar_client::RadarClient,
    session_event::Event,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use super::{
    call_error::CallError, identity::SessionIdentity, proofs::Proofs, spool::Spool, sync::SyncStream, wire,
};
use crate::{
    cluster,
    tunnel::{self, Tunnel},
    version,
};

/// A dead peer is noticed after at most the sum of these two.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_LIMIT: Duration = Duration::from_secs(5);
/// For a call that only asks.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Twenty megabit a second at fifty milliseconds' round trip fit many times over.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What radar has to know: nothing is synced without.
const NEEDED: [&str; 2] = ["prove", "sync"];

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No way to radar.
    #[error(transparent)]
    Tunnel(#[from] tunnel::Error),
    /// We have no key to prove.
    #[error(transparent)]
    Keys(#[from] ksync_keys::Error),
    /// What answers on the tunnel speaks no TLS: a radar of the time before.
    #[error("radar on this node is of an older version than this one, {ours}: run `kubectl ksync init`")]
    Older {
        /// Ours.
        ours: &'static str,
    },
    /// The tunnel broke while our key was being proved.
    #[error("prove our key to radar through the tunnel")]
    Prove(#[source] std::io::Error),
    /// It was not proved that we may exec into the container.
    #[error(transparent)]
    Unproved(CallError),
    /// HTTP/2 did not come up on the tunnel.
    #[error("speak to radar through the tunnel")]
    Transport(#[source] tonic::transport::Error),
    /// radar answered with an error, or not at all.
    #[error("radar refused `{call}`: {message}")]
    Call {
        /// The call.
        call: &'static str,
        /// radar's sentence.
        message: String,
    },
    /// radar did not answer in time.
    #[error("radar did not answer `{call}` within {limit:?}")]
    Slow {
        /// The call.
        call: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// radar is older than something that this program can't do without.
    #[error("radar {radar} on this node does not know `{capability}`: run `kubectl ksync init`")]
    Lacks {
        /// radar's version.
        radar: String,
        /// What it does not know.
        capability: &'static str,
    },
    /// radar is of a version that this one can't work with.
    #[error("radar on this node is {radar}, this is {ours}: run `kubectl ksync init`")]
    Version {
        /// radar's.
        radar: String,
        /// Ours.
        ours: &'static str,
    },
}

impl Error {
    /// With its cause, in a sentence.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Tunnel(tunnel::Error::Cluster { source, .. }) => {
                format!("{self}: {}", cluster::explain(source, ""))
            }
            _ => ksync_common::chain(self),
        }
    }

    /// Whether a person must put it right.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Tunnel(tunnel::Error::Cluster { source, .. }) if cluster::is_denied(source) => true,
            Self::Tunnel(error) => error.is_broken(),
            Self::Version { .. } | Self::Lacks { .. } | Self::Older { .. } | Self::Keys(_) => true,
            Self::Prove(_)
            | Self::Unproved(_)
            | Self::Transport(_)
            | Self::Call { .. }
            | Self::Slow { .. } => false,
        }
    }
}

/// A live connection to radar with its session open.
#[derive(Debug)]
pub(crate) struct Link {
    /// Different for each link of this process.
    pub(super) number: u64,
    /// Calls to radar. Clones share the connection.
    pub(super) radar: RadarClient<Channel>,
    /// Device id of our syncthing on the node.
    pub(super) device_id: String,
    /// radar's version.
    pub(super) radar_version: String,
    /// What this radar can do.
    pub(super) capabilities: Vec<String>,
    /// The node's, through which large files go.
    pub(super) spool: Arc<Spool>,
    /// What was proved over it.
    pub(super) proofs: Proofs,
    /// The stream of all its attachments that are open for ksync's own engine.
    sync: tokio::sync::Mutex<Option<Arc<SyncStream>>>,
}

impl Link {
    /// To something that answers like radar.
    #[cfg(test)]
    pub(super) fn fake(
        number: u64,
        radar: RadarClient<Channel>,
        device_id: &str,
        spool: &Arc<Spool>,
    ) -> Self {
        Self {
            number,
            radar,
            device_id: device_id.to_owned(),
            radar_version: version::OURS.to_owned(),
            capabilities: vec!["spool".to_owned()],
            spool: Arc::clone(spool),
            proofs: Proofs::default(),
            sync: tokio::sync::Mutex::default(),
        }
    }

    /// Whether this radar has a capability.
    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|has| has == capability)
    }

    /// The sync stream of this link. It is begun when it is first asked for, and anew when it has ended.
    pub(super) async fn sync(&self) -> Result<Arc<SyncStream>, CallError> {
        let mut slot = self.sync.lock().await;
        if let Some(stream) = slot.as_ref().filter(|stream| !stream.has_ended()) {
            return Ok(Arc::clone(stream));
        }
        let stream = SyncStream::begin(self.radar.clone()).await?;
        Ok(Arc::clone(slot.insert(stream)))
    }
}

/// The session stream: while it is pumped, the lease is held.
pub(super) struct Session {
    events: Streaming<SessionEvent>,
    _hello: mpsc::Sender<SessionRequest>,
}

impl Session {
    /// Passes each end of an attachment to `sink` until the stream ends; says why it ended. Any other event is none, and a
    /// sign of life all the same.
    pub(super) async fn pump(mut self, sink: impl Fn(Option<(String, String)>)) -> String {
        loop {
            match self.events.message().await {
                Ok(Some(SessionEvent { event: Some(Event::SessionEnded(end)) })) => return end.reason,
                Ok(Some(SessionEvent { event: Some(event) })) => sink(wire::ended(event)),
                Ok(Some(SessionEvent { event: None })) => {}
                Ok(None) => return "radar closed the session".to_owned(),
                Err(status) => return format!("lost the connection to radar: {}", status.message()),
            }
        }
    }
}

/// Connects and opens the session.
///
/// `fresh` tells radar that this is a new run, which knows nothing of what an earlier one left.
pub(super) async fn connect(
    tunnel: &dyn Tunnel,
    identity: &SessionIdentity,
    fresh: bool,
    spool: &Arc<Spool>,
) -> Result<(Link, Session), Error> {
    let (mut radar, found) = dial(tunnel, &identity.keys).await?;
    open_session(&mut radar, found, identity, fresh, spool).await
}

/// Proves our key on a new tunnel, brings HTTP/2 up on it, and checks that the two versions go together.
async fn dial(tunnel: &dyn Tunnel, keys: &Client) -> Result<(RadarClient<Channel>, VersionReply), Error> {
    let stream = tunnel.open().await?;
    let stream = match tokio::time::timeout(CALL_LIMIT, keys.connect(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(Error::Older { ours: version::OURS });
        }
        Ok(Err(error)) => return Err(Error::Prove(error)),
        Err(_) => return Err(Error::Slow { call: "TLS", limit: CALL_LIMIT }),
    };
    let channel = channel(stream).await.map_err(Error::Transport)?;
    let mut radar = RadarClient::new(channel).max_decoding_message_size(16 << 20);

    let found = limited("Version", radar.version(VersionRequest {})).await?.into_inner();
    if !version::compatible(&found.version, version::OURS) {
        return Err(Error::Version { radar: found.version, ours: version::OURS });
    }
    if let Some(capability) = lacking(&found.capabilities) {
        return Err(Error::Lacks { radar: found.version, capability });
    }
    Ok((radar, found))
}

/// HTTP/2 on a stream.
async fn channel(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Channel, tonic::transport::Error> {
    let once = Mutex::new(Some(stream));
    let connector = tower::service_fn(move |_| {
        // One stream, one connection: a second try on the same channel must fail, not hang.
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.map(TokioIo::new).ok_or_else(|| std::io::Error::other("the tunnel is used up")) }
    });
    Endpoint::from_static("http://radar")
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // An answer that crosses the end of its call counts as an error of radar's, and the 1,024th in a connection's life
        // would end it: a few days of edits.
        .http2_max_local_error_reset_streams(None)
        .connect_timeout(CALL_LIMIT)
        .connect_with_connector(connector)
        // Rust 1.90 can't prove the future of who connects `Send` with this one in it.
        .boxed()
        .await
}

/// What of [`NEEDED`] a radar does not know.
fn lacking(capabilities: &[String]) -> Option<&'static str> {
    NEEDED.into_iter().find(|needed| !capabilities.iter().any(|capability| capability == needed))
}

async fn open_session(
    radar: &mut RadarClient<Channel>,
    found: VersionReply,
    identity: &SessionIdentity,
    fresh: bool,
    spool: &Arc<Spool>,
) -> Result<(Link, Session), Error> {
    let (hello, requests) = mpsc::channel(1);
    let request = SessionRequest {
        epoch: next_epoch(),
        machine: identity.machine.clone(),
        user: identity.user.clone(),
        fresh,
    };
    // There is room for one, and the receiver is in scope, so this can't fail.
    let _ = hello.try_send(request);
    let mut events = limited("Session", radar.session(ReceiverStream::new(requests))).await?.into_inner();
    let ready = match limited("Session", events.message()).await? {
        Some(SessionEvent { event: Some(Event::Ready(ready)) }) => ready,
        other => {
            let message = format!("expected the session to be ready, got {other:?}");
            return Err(Error::Call { call: "Session", message });
        }
    };
    let link = Link {
        number: NUMBER.fetch_add(1, Ordering::Relaxed),
        radar: radar.clone(),
        device_id: ready.device_id,
        radar_version: found.version,
        capabilities: found.capabilities,
        spool: Arc::clone(spool),
        proofs: Proofs::default(),
        sync: tokio::sync::Mutex::default(),
    };
    Ok((link, Session { events, _hello: hello }))
}

/// Numbers the links of this process.
static NUMBER: AtomicU64 = AtomicU64::new(1);

async fn limited<T>(
    call: &'static str,
    answer: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_LIMIT, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(status)) => Err(Error::Call { call, message: status.message().to_owned() }),
        Err(_) => Err(Error::Slow { call, limit: CALL_LIMIT }),
    }
}

/// Rises from stream to stream and from run to run, as long as the clock does not go back between runs;
/// within a run always.
fn next_epoch() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = ksync_common::micros(now);
    LAST.fetch_max(now, Ordering::Relaxed);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::{FutureExt as _, future::BoxFuture};
    use ksync_keys::{Client, Identity, Server};
    use ksync_proto::radar::{VersionRequest, radar_client::RadarClient};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        sync::mpsc,
    };

    use super::{Error, NEEDED, channel, dial, lacking, next_epoch};
    use crate::tunnel::{self, Duplex, Tunnel};

    /// A tunnel to whoever has the other end.
    struct To(Mutex<Option<DuplexStream>>);

    impl Tunnel for To {
        fn open(&self) -> BoxFuture<'_, Result<Box<dyn Duplex>, tunnel::Error>> {
            let stream: Box<dyn Duplex> = Box::new(self.0.lock().unwrap().take().unwrap());
            async { Ok(stream) }.boxed()
        }
    }

    fn tunnel() -> (To, DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 16);
        (To(Mutex::new(Some(near))), far)
    }

    fn keys() -> Client {
        Client::new(Identity::for_now().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_radar_of_the_time_before_keys_is_an_older_one() {
        let (tunnel, mut far) = tunnel();
        // With SETTINGS an HTTP/2 server begins.
        far.write_all(&frame(SETTINGS, 0, &[0; 4], &[])).await.unwrap();
        let error = dial(&tunnel, &keys()).await.err().unwrap();
        assert!(matches!(error, Error::Older { .. }) && error.is_broken(), "{error:?}");
        assert!(error.sentence().ends_with("run `kubectl ksync init`"), "{}", error.sentence());
    }

    #[tokio::test]
    async fn a_tunnel_that_breaks_meanwhile_is_nobodys_fault() {
        let (tunnel, far) = tunnel();
        drop(far);
        let error = dial(&tunnel, &keys()).await.err().unwrap();
        assert!(matches!(error, Error::Prove(_)) && !error.is_broken(), "{error:?}");
    }

    #[tokio::test]
    async fn radar_gets_to_know_the_watchers_own_key() {
        let (tunnel, far) = tunnel();
        let identity = Identity::for_now().unwrap();
        let person = identity.fingerprint();
        let radar = Server::new(Identity::for_now().unwrap()).unwrap();
        let client = Client::new(identity).unwrap();
        let dialling = dial(&tunnel, &client);
        let (_, met) = tokio::join!(dialling, async { radar.accept(far).await.map(|(_, person)| person) });
        assert_eq!(met.unwrap(), person);
    }

    /// Calls that are given up, more than the 1,024 answers and the 50 calls that h2 bears and remembers.
    const GIVEN_UP: usize = 1200;
    /// RFC 9113.
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: &[u8], payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], stream, payload].concat()
    }

    /// A radar that begins to answer calls when all of them were given up, and refuses those that come later. Of the former
    /// it tells each, and when it has begun.
    async fn late(mut stream: DuplexStream, called_tx: mpsc::Sender<()>) -> std::io::Result<()> {
        let status = [0x88];
        let refusal = [&status[..], b"\x0f\x10\x10application/grpc\x00\x0bgrpc-status\x0212"].concat();
        let mut given_up = Vec::new();
        stream.read_exact(&mut [0; 24]).await?;
        stream.write_all(&frame(SETTINGS, 0, &[0; 4], &[])).await?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await?;
            let answer = match (head[3], head[4]) {
                (HEADERS, _) if given_up.len() < GIVEN_UP => {
                    called_tx.send(()).await.map_err(std::io::Error::other)?;
                    Vec::new()
                }
                (HEADERS, _) => frame(HEADERS, END_HEADERS | END_STREAM, &head[5..], &refusal),
                (RESET, _) => {
                    given_up.push(head[5..].to_vec());
                    if given_up.len() == GIVEN_UP {
                        let begin = |id: &Vec<u8>| frame(HEADERS, END_HEADERS, id, &status);
                        stream.write_all(&given_up.iter().flat_map(begin).collect::<Vec<u8>>()).await?;
                        called_tx.send(()).await.map_err(std::io::Error::other)?;
                    }
                    Vec::new()
                }
                (SETTINGS, 0) => frame(SETTINGS, ACK, &[0; 4], &[]),
                (PING, 0) => frame(PING, ACK, &[0; 4], &payload),
                _ => Vec::new(),
            };
            stream.write_all(&answer).await?;
        }
    }

    #[tokio::test]
    async fn late_answers_to_many_calls_that_were_given_up_leave_the_connection_up() {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (called_tx, mut called_rx) = mpsc::channel(1);
        let answering = tokio::spawn(late(theirs, called_tx));
        let mut radar = RadarClient::new(channel(ours).await.unwrap());
        for _ in 0..GIVEN_UP {
            let mut radar = radar.clone();
            let call = tokio::spawn(async move { radar.version(VersionRequest {}).await });
            called_rx.recv().await.unwrap();
            call.abort();
        }
        // The late answers are on their way.
        called_rx.recv().await.unwrap();
        let refused = radar.version(VersionRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unimplemented, "{refused:?}");
        answering.abort();
    }

    #[test]
    fn a_radar_without_what_is_needed_is_refused() {
        let knows = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for missing in NEEDED {
            let others = NEEDED.into_iter().filter(|name| *name != missing);
            let others: Vec<&str> = others.chain(["bind"]).collect();
            assert_eq!(lacking(&knows(&others)), Some(missing));
        }
        assert_eq!(lacking(&knows(&NEEDED)), None);
    }

    #[test]
    fn epochs_rise() {
        let first = next_epoch();
        assert!(next_epoch() > first);
    }
}
