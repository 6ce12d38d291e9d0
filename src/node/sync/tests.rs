//! A stream against something that answers like radar, over a connection in memory.

mod spooled;

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use hyper_util::rt::TokioIo;
use ksync_endpoint::News;
use ksync_engine::{Far, FarContent, FromFar, ToFar};
use ksync_proto::radar::{
    ReadReply, ReadRequest, StageReply, StageRequest, SyncReply, SyncRequest, radar_client::RadarClient,
};
use ksync_tree::{Entry, Ignore, Kind};
use ksync_wire::{Content, End, Ended, Reply, ReplyEncoder, Request, RequestDecoder};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Response, Status, Streaming,
    body::Body,
    server::{ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService},
    transport::{Endpoint, Server},
};
use tonic_prost::ProstCodec;

use super::{SyncStream, open};
use crate::node::{large_file::LargeFile, spool::Spool};

/// Files of so many bytes go through the spool.
const LARGE: u64 = 1 << 20;

type Told = mpsc::UnboundedReceiver<Result<SyncReply, Status>>;
type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What answers like radar.
#[derive(Clone)]
struct Fake {
    /// What it was asked for; none at the end of a stream.
    asked_tx: mpsc::UnboundedSender<Option<(u32, Request)>>,
    replies: Arc<Mutex<Option<Told>>>,
    /// What was staged, whole or not.
    staged_tx: mpsc::UnboundedSender<Result<Vec<u8>, ()>>,
    /// Why nothing comes through the spool.
    not_spooled: Arc<Mutex<String>>,
}

struct SyncCall(Fake);
struct StageCall(Fake);
struct ReadCall;

impl StreamingService<SyncRequest> for SyncCall {
    type Response = SyncReply;
    type ResponseStream = Replies<SyncReply>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<SyncRequest>>) -> Self::Future {
        let (fake, mut requests) = (self.0.clone(), request.into_inner());
        async move {
            let replies = fake.replies.lock().unwrap().take().unwrap();
            tokio::spawn(async move {
                let mut decoder = RequestDecoder::default();
                while let Ok(Some(message)) = requests.message().await {
                    for asked in decoder.decode(message).unwrap() {
                        drop(fake.asked_tx.send(Some(asked)));
                    }
                }
                drop(fake.asked_tx.send(None));
            });
            let replies: Replies<SyncReply> = Box::pin(UnboundedReceiverStream::new(replies));
            Ok(Response::new(replies))
        }
        .boxed()
    }
}

impl ClientStreamingService<StageRequest> for StageCall {
    type Response = StageReply;
    type Future = BoxFuture<'static, Result<Response<StageReply>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<StageRequest>>) -> Self::Future {
        let (fake, mut requests) = (self.0.clone(), request.into_inner());
        async move {
            let head = requests.message().await?.unwrap();
            if !head.spooled.is_empty() {
                let not_spooled = fake.not_spooled.lock().unwrap().clone();
                return Ok(Response::new(StageReply { not_spooled }));
            }
            let staged = tokio::spawn(async move {
                let mut content = Vec::new();
                let whole = loop {
                    match requests.message().await {
                        Ok(Some(StageRequest { last: true, .. })) => break Ok(content),
                        Ok(Some(StageRequest { data, packed: true, .. })) => {
                            content.extend(ksync_wire::unpack(&data, 1 << 20).unwrap());
                        }
                        Ok(Some(StageRequest { data, .. })) => content.extend(data),
                        // What is given up looks like the former.
                        Ok(None) | Err(_) => break Err(()),
                    }
                };
                drop(fake.staged_tx.send(whole));
            });
            staged.await.map_err(|error| Status::internal(error.to_string()))?;
            Ok(Response::new(StageReply::default()))
        }
        .boxed()
    }
}

impl ServerStreamingService<ReadRequest> for ReadCall {
    type Response = ReadReply;
    type ResponseStream = Replies<ReadReply>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<ReadRequest>) -> Self::Future {
        let ReadRequest { path, spool, .. } = request.into_inner();
        if spool {
            let spooled = futures::stream::iter([Ok(ReadReply { spooled: true, ..ReadReply::default() })]);
            let replies: Replies<ReadReply> = Box::pin(spooled.chain(futures::stream::pending()));
            return async move { Ok(Response::new(replies)) }.boxed();
        }
        let piece = ReadReply { data: path.clone().into_bytes().into(), ..ReadReply::default() };
        let end = (path == "changes").then(|| Err(Status::aborted("`changes` changed")));
        let replies: Replies<ReadReply> =
            Box::pin(futures::stream::iter([Ok(piece)]).chain(futures::stream::iter(end)));
        async move { Ok(Response::new(replies)) }.boxed()
    }
}

impl tower::Service<http::Request<Body>> for Fake {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fake = self.clone();
        async move {
            Ok(match request.uri().path().rsplit('/').next() {
                Some("Sync") => Grpc::new(ProstCodec::default()).streaming(SyncCall(fake), request).await,
                Some("Stage") => {
                    Grpc::new(ProstCodec::default()).client_streaming(StageCall(fake), request).await
                }
                Some("Read") => Grpc::new(ProstCodec::default()).server_streaming(ReadCall, request).await,
                other => panic!("{other:?}"),
            })
        }
        .boxed()
    }
}

impl NamedService for Fake {
    const NAME: &'static str = "ksync.radar.v1.Radar";
}

struct Scene {
    stream: Arc<SyncStream>,
    asked_rx: mpsc::UnboundedReceiver<Option<(u32, Request)>>,
    replies_tx: mpsc::UnboundedSender<Result<SyncReply, Status>>,
    staged_rx: mpsc::UnboundedReceiver<Result<Vec<u8>, ()>>,
    not_spooled: Arc<Mutex<String>>,
    spool: Arc<Spool>,
    encoder: ReplyEncoder,
}

impl Scene {
    async fn new() -> Self {
        let (asked_tx, asked_rx) = mpsc::unbounded_channel();
        let (replies_tx, replies_rx) = mpsc::unbounded_channel();
        let (staged_tx, staged_rx) = mpsc::unbounded_channel();
        let not_spooled = Arc::default();
        let fake = Fake {
            asked_tx,
            replies: Arc::new(Mutex::new(Some(replies_rx))),
            staged_tx,
            not_spooled: Arc::clone(&not_spooled),
        };
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let incoming =
            futures::stream::iter([Ok::<_, std::io::Error>(theirs)]).chain(futures::stream::pending());
        tokio::spawn(Server::builder().add_service(fake).serve_with_incoming(incoming));
        let ours = Mutex::new(Some(TokioIo::new(ours)));
        let connector = tower::service_fn(move |_| {
            let ours = ours.lock().unwrap().take();
            async move { ours.ok_or_else(|| std::io::Error::other("used up")) }
        });
        let channel = Endpoint::from_static("http://radar").connect_with_connector(connector).await.unwrap();
        let stream = SyncStream::begin(RadarClient::new(channel)).await.unwrap();
        let (spool, encoder) = (Arc::new(Spool::new(LargeFile(LARGE))), ReplyEncoder::default());
        Self { stream, asked_rx, replies_tx, staged_rx, not_spooled, spool, encoder }
    }

    fn tell(&mut self, channel: u32, reply: Reply) {
        self.replies_tx.send(Ok(self.encoder.encode([(channel, reply)]))).unwrap();
    }

    async fn asked(&mut self) -> Option<(u32, Request)> {
        tokio::time::timeout(Duration::from_secs(10), self.asked_rx.recv()).await.unwrap().unwrap()
    }

    fn open(&self, attachment: &str) -> (super::RemoteFar, mpsc::Receiver<FromFar>) {
        let ignore = Ignore::with_defaults(&["*.log".to_owned()]).unwrap();
        open(&self.stream, &self.spool, attachment, &ignore, 1000)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a state, as a job has it")]
fn file(content: &[u8]) -> Option<Arc<Entry>> {
    let (path, hash) = ("f".to_owned(), Some(*blake3::hash(content).as_bytes()));
    let size = content.len() as u64;
    Some(Arc::new(Entry { path, kind: Kind::File, size, mtime_ns: 1, mode: 0o644, hash, target: None }))
}

#[tokio::test]
async fn each_attachment_gets_its_own_and_the_end_of_the_stream_is_the_end_of_all() {
    let mut scene = Scene::new().await;
    let (first, mut first_rx) = scene.open("a-1");
    let (second, mut second_rx) = scene.open("a-2");
    for attachment in ["a-1", "a-2"] {
        let Some((_, Request::Open(open))) = scene.asked().await else { panic!() };
        assert_eq!((open.attachment.as_str(), open.inline), (attachment, 1000));
        assert_eq!(open.ignore.first().map(String::as_str), Some("*.log"));
    }
    let text: Arc<[u8]> = Arc::from(&b"text"[..]);
    let news = News { path: "f".into(), state: file(&text), content: Some(Arc::clone(&text)) };
    scene.tell(2, Reply::News(vec![news]));
    let Some(FromFar::News(news)) = second_rx.recv().await else { panic!() };
    assert_eq!(news[0].content, Some(text));
    scene
        .tell(1, Reply::Ended(Ended { end: End::ContainerExited, reason: "the container has ended".into() }));
    assert!(first_rx.recv().await.is_none());
    // What comes for it all the same is nobody's, and the other goes on.
    scene.tell(1, Reply::Listed);
    scene.tell(2, Reply::Listed);
    assert!(matches!(second_rx.recv().await, Some(FromFar::Listed)));
    // What is dropped is closed.
    drop(first);
    assert!(matches!(scene.asked().await, Some((1, Request::Close))));
    assert!(!scene.stream.has_ended());
    scene.replies_tx.send(Err(Status::unavailable("radar stops"))).unwrap();
    assert!(second_rx.recv().await.is_none());
    assert!(scene.stream.has_ended());
    // One that is opened too late hears at once that nothing comes.
    assert!(scene.open("a-3").1.recv().await.is_none());
    second.send(ToFar::Mark(1));
}

#[tokio::test]
async fn jobs_arrive_in_order_each_with_its_content() {
    let mut scene = Scene::new().await;
    let fars: Vec<_> = (0..30).map(|n| scene.open(&format!("a-{n}"))).collect();
    let text: Arc<[u8]> = vec![b'x'; 40_000].into();
    for number in 1..=20 {
        for (far, _) in &fars {
            let content = FarContent::Whole(Arc::clone(&text));
            let (path, new) = (Arc::from("f"), file(&text));
            far.send(ToFar::Job { number, path, old: None, new, content, keep: false });
        }
    }
    let mut last = vec![0; 31];
    let mut jobs = 0;
    while jobs < 600 {
        match scene.asked().await.unwrap() {
            (_, Request::Open(_)) => {}
            (channel, Request::Job { number, content: Content::Whole(content, _), .. }) => {
                jobs += 1;
                assert_eq!((number, content.len()), (last[channel as usize] + 1, 40_000));
                last[channel as usize] = number;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_content_that_breaks_off_is_no_end() {
    let mut scene = Scene::new().await;
    let (far, _news_rx) = scene.open("a-1");
    let large = b"0123456789".repeat(100_000);
    let entry = file(&large).unwrap();
    let (pieces_tx, pieces_rx) = mpsc::channel(8);
    pieces_tx.send(Ok(large[..700_000].to_vec())).await.unwrap();
    pieces_tx.send(Ok(large[700_000..].to_vec())).await.unwrap();
    drop(pieces_tx);
    far.stage(1, "f", &entry, pieces_rx).await.unwrap();
    assert_eq!(scene.staged_rx.recv().await.unwrap(), Ok(large.clone()));
    let (pieces_tx, pieces_rx) = mpsc::channel(8);
    pieces_tx.send(Ok(large)).await.unwrap();
    pieces_tx.send(Err("`f` changed".to_owned())).await.unwrap();
    drop(pieces_tx);
    assert_eq!(far.stage(2, "f", &entry, pieces_rx).await.unwrap_err(), "`f` changed");
    assert_eq!(scene.staged_rx.recv().await.unwrap(), Err(()));

    let entry = file(b"").unwrap();
    let mut pieces = far.read("whole", &entry).await.unwrap();
    assert_eq!(pieces.recv().await, Some(Ok(b"whole".to_vec())));
    assert_eq!(pieces.recv().await, None);
    let mut pieces = far.read("changes", &entry).await.unwrap();
    assert_eq!(pieces.recv().await, Some(Ok(b"changes".to_vec())));
    assert_eq!(pieces.recv().await, Some(Err("`changes` changed".to_owned())));
    assert_eq!(pieces.recv().await, None);
}
