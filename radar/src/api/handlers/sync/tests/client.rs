//! Clients of the real handlers, each with a key of its own through the real door, and a directory of this machine as a
//! container's.

use std::{
    collections::{HashSet, VecDeque},
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command as Program},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use futures::FutureExt as _;
use hyper_util::rt::TokioIo;
use ksync_endpoint::{HeldFile, News};
use ksync_keys::{Client, Fingerprint, Identity, Server as Keys};
use ksync_merge::State;
use ksync_proto::radar::{ReadRequest, StageRequest, SyncReply, SyncRequest, radar_client::RadarClient};
use ksync_tree::{Entry, Root, stat_entry};
use ksync_wire::{Content, End, Open, Reply, ReplyDecoder, Request, RequestEncoder};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint, Server, Uri, server::TcpIncoming},
};
use tower::service_fn;

use crate::{
    api::{
        door,
        handlers::{Handlers, PROOFS},
        places::Places,
        sizes::Calls,
    },
    container::{attachment::fake::attachment, power::Credential, runtime::Runtimes},
    paths::Paths,
    reload::Reloader,
    supervisor::session_syncthing::SessionSyncthing,
    sync::{
        endpoints::Endpoints,
        registry::{Command, IfHeld, Life, Registry},
        session::Hello,
        spools::Spools,
    },
};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    paths: Paths,
}

/// Somebody with a key, and the way to radar.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) radar: RadarClient<Channel>,
    pub(super) person: Fingerprint,
    keys: Client,
}

/// A radar with one attached directory, `a`, and whose it is.
pub(super) struct Scene {
    pub(super) me: Caller,
    address: SocketAddr,
    pub(super) dir: tempfile::TempDir,
    pub(super) registry: Registry,
    pub(super) spools: Spools,
    init: Child,
    _stop: tokio_util::sync::DropGuard,
    _events_rx: mpsc::Receiver<ksync_proto::radar::SessionEvent>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // It may have been ended before.
        drop(self.init.kill());
        self.init.wait().unwrap();
    }
}

impl Scene {
    /// None where mounts can't be cloned.
    pub(super) async fn new() -> Option<Self> {
        Self::beside(None).await
    }

    /// The same, whose session has this syncthing.
    pub(super) async fn beside(syncthing: Option<Arc<SessionSyncthing>>) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let init = Program::new("sleep").arg("1000").spawn().unwrap();
        let (_, supervisor_rx) = tokio::sync::watch::channel(None);
        let paths = Line::parse_from(["radar"]).paths;
        let spools = Spools::below(dir.path().with_extension("sessions"), dir.path().with_extension("none"));
        let registry = Registry::spawn(spools.clone());
        let (runtimes, stop) = (Runtimes::below("/nowhere".as_ref()), CancellationToken::new());
        let handlers = Handlers {
            registry: registry.clone(),
            endpoints: Endpoints::default(),
            spools: spools.clone(),
            reloader: Reloader::new(runtimes.clone()),
            runtimes,
            supervisor_rx,
            paths,
            proofs: Places::new(PROOFS),
            stop: stop.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let keys = Keys::new(Identity::for_now().unwrap()).unwrap();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let places = Places::new(door::CONNECTIONS);
        let at_work = Box::new(|| futures::future::ready(HashSet::new()).boxed());
        let incoming = door::through(incoming, keys, places, at_work);
        let server = Server::builder().add_service(Calls::new(handlers));
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
        let me = Caller::to(address).await;
        let events_rx = me.opens_a_session(&registry).await;
        if syncthing.is_some() {
            spools.with_syncthing(me.person, tokio::sync::watch::channel(syncthing).1);
        }
        let attachment = attachment("a", init.id(), dir.path()).await;
        let stop = stop.drop_guard();
        let scene = Self { me, address, dir, registry, spools, init, _stop: stop, _events_rx: events_rx };
        let mut attachment = Box::new(attachment?);
        attachment.claim.person = scene.me.person;
        let life = Life::of(&attachment);
        scene
            .registry
            .ask(|reply| Command::Proved(scene.me.person, life, Credential::own(), reply))
            .await
            .unwrap();
        scene.registry.ask(|reply| Command::Attach(attachment, IfHeld::Refuse, reply)).await.unwrap();
        Some(scene)
    }

    /// Somebody else.
    pub(super) async fn another(&self) -> Caller {
        Caller::to(self.address).await
    }

    /// The same person, over a connection more.
    pub(super) async fn me_again(&self) -> Caller {
        self.me.again(self.address).await
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// What stands at a path, with its hash.
    pub(super) fn state(&self, path: &str) -> State {
        let root = Root::open(self.dir.path()).unwrap();
        stat_entry(&root, path, true).unwrap().map(Arc::new)
    }

    /// The names of all files of ours that are not in their places.
    pub(super) fn temporaries(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".ksync.")).collect()
    }

    /// Ends the container.
    pub(super) fn end_container(&mut self) {
        self.init.kill().unwrap();
        self.init.wait().unwrap();
    }
}

impl Caller {
    async fn to(address: SocketAddr) -> Self {
        let identity = Identity::for_now().unwrap();
        let person = identity.fingerprint();
        Self::with(Client::new(identity).unwrap(), person, address).await
    }

    async fn again(&self, address: SocketAddr) -> Self {
        Self::with(self.keys.clone(), self.person, address).await
    }

    async fn with(keys: Client, person: Fingerprint, address: SocketAddr) -> Self {
        let client = keys.clone();
        let connect = service_fn(move |_: Uri| {
            let client = client.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                client.connect(stream).await.map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_static("http://radar").connect_with_connector(connect).await.unwrap();
        Self { radar: RadarClient::new(channel), person, keys }
    }

    /// Without the call, whose stream it is.
    pub(super) async fn opens_a_session(
        &self,
        registry: &Registry,
    ) -> mpsc::Receiver<ksync_proto::radar::SessionEvent> {
        let (events_tx, events_rx) = mpsc::channel(64);
        let hello = Hello { person: self.person, epoch: 1, holder: "u@m".into(), fresh: true };
        registry.ask(|reply| Command::Open(hello, events_tx, reply)).await.unwrap();
        events_rx
    }

    pub(super) async fn stream(&self) -> Result<Stream, Status> {
        let (requests_tx, requests_rx) = mpsc::channel(16);
        let replies = self.radar.clone().sync(ReceiverStream::new(requests_rx)).await?.into_inner();
        Ok(Stream {
            requests_tx,
            replies,
            encoder: RequestEncoder::default(),
            decoder: ReplyDecoder::default(),
            waiting: VecDeque::new(),
        })
    }

    /// Stages a file's content in pieces; ends badly after `most` of them.
    pub(super) async fn stage(
        &self,
        number: u64,
        path: &str,
        content: &[u8],
        most: usize,
    ) -> Result<(), Status> {
        let head =
            StageRequest { attachment_id: "a".into(), number, path: path.into(), ..StageRequest::default() };
        let (pieces_tx, pieces_rx) = mpsc::channel(4);
        let pieces: Vec<Vec<u8>> = content.chunks(256 << 10).map(<[u8]>::to_vec).collect();
        let breaks = pieces.len() > most;
        let sending = async move {
            let mut packer = ksync_wire::Packer::default();
            pieces_tx.send(head).await?;
            for piece in pieces.into_iter().take(most) {
                let (data, packed) = match packer.pack(&piece) {
                    Some(data) => (data, true),
                    None => (piece, false),
                };
                pieces_tx.send(StageRequest { data: data.into(), packed, ..head_less() }).await?;
            }
            if breaks {
                // Held open: the call itself is dropped below.
                pieces_tx.closed().await;
            } else {
                pieces_tx.send(StageRequest { last: true, ..head_less() }).await?;
            }
            Ok::<_, mpsc::error::SendError<StageRequest>>(())
        };
        let mut radar = self.radar.clone();
        let call = async move { radar.stage(ReceiverStream::new(pieces_rx)).await };
        if breaks {
            tokio::time::timeout(Duration::from_millis(300), futures::future::join(call, sending))
                .await
                .unwrap_err();
            return Err(Status::cancelled("broken off"));
        }
        // A call that is refused takes no more, and its answer says why.
        let (answer, sent) = futures::future::join(call, sending).await;
        assert!(answer.is_err() || sent.is_ok());
        answer.map(drop)
    }

    /// Reads a file's content.
    pub(super) async fn read(&self, path: &str, expected: &Entry) -> Result<Vec<u8>, Status> {
        let request = ReadRequest {
            attachment_id: "a".into(),
            path: path.into(),
            expected: Some(ksync_wire::entry(expected)),
            spool: false,
        };
        let mut stream = self.radar.clone().read(request).await?.into_inner();
        let mut content = Vec::new();
        while let Some(reply) = stream.message().await? {
            if reply.packed {
                content.extend(ksync_wire::unpack(&reply.data, 1 << 20).unwrap());
            } else {
                content.extend_from_slice(&reply.data);
            }
        }
        Ok(content)
    }
}

fn head_less() -> StageRequest {
    StageRequest::default()
}

/// A client's end of a session's sync.
pub(super) struct Stream {
    requests_tx: mpsc::Sender<SyncRequest>,
    replies: Streaming<SyncReply>,
    encoder: RequestEncoder,
    decoder: ReplyDecoder,
    waiting: VecDeque<(u32, Reply)>,
}

impl Stream {
    pub(super) async fn send(&mut self, channel: u32, request: Request) {
        self.requests_tx.send(self.encoder.encode([(channel, request)])).await.unwrap();
    }

    /// Opens attachment `a`.
    pub(super) async fn open(&mut self, channel: u32) {
        let ignore = ksync_tree::Ignore::with_defaults(&["*.log".to_owned()]).unwrap();
        let ignore = ignore.patterns().to_vec();
        let open = Open { attachment: "a".into(), ignore, inline: 64 << 10 };
        self.send(channel, Request::Open(open)).await;
    }

    /// Opens it and returns all that is there.
    pub(super) async fn list(&mut self, channel: u32) -> Vec<News> {
        self.open(channel).await;
        let mut all = Vec::new();
        loop {
            match self.next().await {
                (_, Reply::News(news)) => all.extend(news),
                (_, Reply::Listed) => return all,
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next reply; none when the stream has ended.
    pub(super) async fn try_next(&mut self) -> Option<(u32, Reply)> {
        while self.waiting.is_empty() {
            let message = tokio::time::timeout(LIMIT, self.replies.message()).await.expect("a reply");
            self.waiting.extend(self.decoder.decode(message.ok()??).unwrap());
        }
        self.waiting.pop_front()
    }

    pub(super) async fn next(&mut self) -> (u32, Reply) {
        self.try_next().await.expect("the stream goes on")
    }

    /// The next news of a path.
    pub(super) async fn news_of(&mut self, path: &str) -> News {
        loop {
            if let (_, Reply::News(news)) = self.next().await
                && let Some(news) = news.into_iter().find(|news| &*news.path == path)
            {
                return news;
            }
        }
    }

    /// The next held file.
    pub(super) async fn held(&mut self) -> HeldFile {
        loop {
            if let (_, Reply::Held(file)) = self.next().await {
                return file;
            }
        }
    }

    /// How the channel ends.
    pub(super) async fn end(&mut self) -> End {
        loop {
            if let (_, Reply::Ended(ended)) = self.next().await {
                return ended.end;
            }
        }
    }

    /// Has a job done, and returns its answer; what comes before that is dropped.
    pub(super) async fn job(
        &mut self,
        number: u64,
        path: &str,
        old: State,
        new: State,
        content: Content,
    ) -> Reply {
        self.keeping_job(number, path, old, new, content, false).await
    }

    pub(super) async fn keeping_job(
        &mut self,
        number: u64,
        path: &str,
        old: State,
        new: State,
        content: Content,
        keep: bool,
    ) -> Reply {
        self.send(1, Request::Job { number, path: path.into(), old, new, content, keep }).await;
        loop {
            match self.next().await.1 {
                applied @ Reply::Applied { .. } => return applied,
                // The audit may be quicker than the event.
                Reply::News(_) | Reply::Missed(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
