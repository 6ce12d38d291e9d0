//! Two real syncthings, the node's behind something that answers like radar. `KSYNC_TEST_SYNCTHING` names the program
//! (`make syncthing-test`).

use std::{
    path::PathBuf,
    sync::Mutex,
    task::{Context, Poll},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use hyper_util::rt::TokioIo;
use ksync_proto::radar::{SpoolReply, radar_client::RadarClient};
use ksync_tree::{Entry, Kind};
use syncthing::TestSyncthing;
use tonic::{
    Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
    transport::{Channel, Endpoint, Server},
};
use tonic_prost::ProstCodec;

use super::*;
use crate::node::LargeFile;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What makes spools like radar: at the syncthing of the moment, for this device.
#[derive(Clone)]
struct Fake {
    pair: Arc<Pair>,
    there: Arc<Mutex<Option<Client>>>,
    device: String,
}

impl UnaryService<SpoolRequest> for Fake {
    type Response = SpoolReply;
    type Future = BoxFuture<'static, Result<Response<SpoolReply>, Status>>;

    fn call(&mut self, _: tonic::Request<SpoolRequest>) -> Self::Future {
        let (fake, there) = (self.clone(), self.there.lock().unwrap().clone());
        async move {
            let there = there.ok_or_else(|| Status::failed_precondition("no syncthing"))?;
            there.put_device(&Device::new(&fake.device, "here", None)).await.unwrap();
            fake.pair.share(&there, &fake.device).await.unwrap();
            Ok(Response::new(SpoolReply {}))
        }
        .boxed()
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
        assert!(request.uri().path().ends_with("/Spool"));
        async move { Ok(Grpc::new(ProstCodec::default()).unary(fake, request).await) }.boxed()
    }
}

impl NamedService for Fake {
    const NAME: &'static str = "ksync.radar.v1.Radar";
}

async fn connect(fake: Fake) -> RadarClient<Channel> {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let incoming = futures::stream::iter([Ok::<_, std::io::Error>(theirs)]).chain(futures::stream::pending());
    tokio::spawn(Server::builder().add_service(fake).serve_with_incoming(incoming));
    let ours = Mutex::new(Some(TokioIo::new(ours)));
    let connector = tower::service_fn(move |_| {
        let ours = ours.lock().unwrap().take();
        async move { ours.ok_or_else(|| std::io::Error::other("used up")) }
    });
    RadarClient::new(Endpoint::from_static("http://radar").connect_with_connector(connector).await.unwrap())
}

async fn becomes(spool: &Spool, there: bool) {
    let large = Entry {
        path: "f".into(),
        kind: Kind::File,
        size: 256 << 20,
        mtime_ns: 0,
        mode: 0o644,
        hash: Some([1; 32]),
        target: None,
    };
    let begun = Instant::now();
    while spool.way(&large).await.is_some() != there {
        assert!(begun.elapsed() < LIMIT, "no spool that is {there} within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("it is {there} after {:?}", begun.elapsed());
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn running(number: u64, here: &TestSyncthing) -> SyncthingState {
    SyncthingState::Up(Arc::new(Running { number, client: here.client.clone() }))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn a_spool_comes_back_after_every_break_and_leaves_nothing() {
    let binary =
        PathBuf::from(std::env::var_os("KSYNC_TEST_SYNCTHING").expect("KSYNC_TEST_SYNCTHING is set"));
    crate::tls::install();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let port = free_port();
    let mut here = TestSyncthing::start(&binary, &at("here"), 0).await;
    let mut there = TestSyncthing::start(&binary, &at("there"), port).await;
    let fake = Fake {
        pair: Arc::new(Pair::open(End::There, &at("radar"), &here.id, "1").unwrap()),
        there: Arc::new(Mutex::new(Some(there.client.clone()))),
        device: here.id.clone(),
    };
    let spool = Arc::new(Spool::new(LargeFile::default()));
    let radar = connect(fake.clone()).await;
    let up = |number| NodeState::Up(Arc::new(Link::fake(number, radar.clone(), &there.id, &spool)));
    let (first, second) = (up(1), up(2));
    let (state_tx, state) = watch::channel(first);
    let (syncthing_tx, syncthing) = watch::channel(running(1, &here));
    let (_bep_tx, bep_address) = watch::channel(SocketAddr::from(([127, 0, 0, 1], port)));
    let end = CancellationToken::new();
    let keeper = SpoolKeeper {
        spool: Arc::clone(&spool),
        syncthing: LocalSyncthing::fake(syncthing, at("kept")),
        dir: at("spools"),
        devices: Arc::default(),
        own_device: here.id.clone(),
        bep_address,
        state,
    };
    // As the test fixes it for the other end.
    let keeping = tokio::spawn(keeper.run_as("1".to_owned(), end.clone()));
    becomes(&spool, true).await;
    // The node's syncthing is killed, and starts with nothing.
    *fake.there.lock().unwrap() = None;
    drop(there);
    becomes(&spool, false).await;
    there = TestSyncthing::start(&binary, &at("there"), port).await;
    *fake.there.lock().unwrap() = Some(there.client.clone());
    becomes(&spool, true).await;
    // So is the local one.
    drop(here);
    syncthing_tx.send_replace(SyncthingState::Down(Some("killed".to_owned())));
    becomes(&spool, false).await;
    here = TestSyncthing::start(&binary, &at("here"), 0).await;
    syncthing_tx.send_replace(running(2, &here));
    becomes(&spool, true).await;
    // The tunnel breaks.
    state_tx.send_replace(NodeState::Down { reason: String::new(), broken: false });
    becomes(&spool, false).await;
    state_tx.send_replace(second);
    becomes(&spool, true).await;
    end.cancel();
    keeping.await.unwrap();
    becomes(&spool, false).await;
    assert!(here.client.folders().await.unwrap().is_empty());
    assert_eq!(here.client.devices().await.unwrap().len(), 1, "its own");
    assert!(std::fs::read_dir(at("spools")).unwrap().next().is_none());
}
