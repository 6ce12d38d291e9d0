//! A watcher that says what it is told to say: what the commands make of its answers needs no cluster.

use std::{fs, os::unix::fs::PermissionsExt, sync::Mutex};

use ksync_proto::watch::{
    AnswerReply, AnswerRequest, ReloadReply, ReloadRequest, SpecStatus, StatusReply, StatusRequest,
    StopReply, StopRequest, TakeOverReply, TakeOverRequest, VersionReply, VersionRequest, WakeReply,
    WakeRequest,
    watch_server::{Watch, WatchServer},
};
use kubectl_ksync::short_hash;
use tokio::{
    net::UnixListener,
    runtime::Runtime,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

use super::bench::Bench;

/// Listens until it is dropped.
pub(crate) struct FakeWatcher {
    _runtime: Runtime,
    board: watch::Sender<StatusReply>,
    answer: watch::Sender<Result<AnswerReply, Status>>,
    asked: Mutex<mpsc::UnboundedReceiver<(String, bool)>>,
    stopped: watch::Receiver<bool>,
}

impl FakeWatcher {
    /// Listens where the watcher of `context` of the bench's kubeconfig would.
    pub(crate) fn of(bench: &Bench, context: &str) -> Self {
        Self::of_version(bench, context, env!("CARGO_PKG_VERSION"))
    }

    /// The same, of another version.
    pub(crate) fn of_version(bench: &Bench, context: &str, version: &str) -> Self {
        let cluster = short_hash(b"https://127.0.0.1:1");
        let dir = bench.home().join(format!("contexts/{context}-{cluster}"));
        fs::create_dir_all(&dir).unwrap();
        for private in [bench.home().join("contexts"), dir.clone()] {
            fs::set_permissions(private, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let runtime = Runtime::new().unwrap();
        let board = watch::Sender::new(StatusReply::default());
        let (stop, stopped) = watch::channel(false);
        let answer = watch::Sender::new(Ok(AnswerReply::default()));
        let (asks, asked) = mpsc::unbounded_channel();
        let (context, version) = (context.to_owned(), version.to_owned());
        let service =
            Service { context, version, board: board.subscribe(), answer: answer.subscribe(), asks, stop };
        let entered = runtime.enter();
        let listener = UnixListener::bind(dir.join("watch.sock")).unwrap();
        drop(entered);
        let server = tonic::transport::Server::builder()
            .add_service(WatchServer::new(service))
            .serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(server);
        Self { _runtime: runtime, board, answer, asked: Mutex::new(asked), stopped }
    }

    /// What it answers from now on.
    pub(crate) fn says(&self, specs: Vec<SpecStatus>) {
        self.board.send_replace(StatusReply { specs, ..StatusReply::default() });
    }

    /// What becomes of an answer from now on.
    pub(crate) fn answers(&self, reply: Result<AnswerReply, Status>) {
        drop(self.answer.send_replace(reply));
    }

    /// The specs that were answered since the last time, and whether they were accepted.
    pub(crate) fn answered(&self) -> Vec<(String, bool)> {
        let mut asked = self.asked.lock().unwrap();
        std::iter::from_fn(|| asked.try_recv().ok()).collect()
    }

    /// Whether it was told to stop.
    pub(crate) fn was_stopped(&self) -> bool {
        *self.stopped.borrow()
    }
}

/// A spec of this name and namespace.
pub(crate) fn spec(name: &str, namespace: &str) -> SpecStatus {
    SpecStatus {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        local_path: "/l".to_owned(),
        remote_path: "/r".to_owned(),
        status: "waiting".to_owned(),
        reason: "why".to_owned(),
        ..SpecStatus::default()
    }
}

struct Service {
    context: String,
    version: String,
    board: watch::Receiver<StatusReply>,
    answer: watch::Receiver<Result<AnswerReply, Status>>,
    asks: mpsc::UnboundedSender<(String, bool)>,
    stop: watch::Sender<bool>,
}

#[tonic::async_trait]
impl Watch for Service {
    type FollowStream = ReceiverStream<Result<StatusReply, Status>>;

    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionReply>, Status> {
        let (version, context) = (self.version.clone(), self.context.clone());
        Ok(Response::new(VersionReply { version, pid: 7, context }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.board.borrow().clone()))
    }

    async fn follow(&self, _: Request<StatusRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let (tx, rx) = mpsc::channel(1);
        let mut board = self.board.clone();
        tokio::spawn(async move {
            loop {
                let reply = board.borrow_and_update().clone();
                if tx.send(Ok(reply)).await.is_err() || board.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(rx)))
    }

    async fn answer(&self, request: Request<AnswerRequest>) -> Result<Response<AnswerReply>, Status> {
        let AnswerRequest { name, accept } = request.into_inner();
        self.asks.send((name, accept)).unwrap();
        self.answer.borrow().clone().map(Response::new)
    }

    async fn wake(&self, _: Request<WakeRequest>) -> Result<Response<WakeReply>, Status> {
        Ok(Response::new(WakeReply {}))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadReply>, Status> {
        Ok(Response::new(ReloadReply { containers: Vec::new() }))
    }

    async fn take_over(&self, _: Request<TakeOverRequest>) -> Result<Response<TakeOverReply>, Status> {
        Ok(Response::new(TakeOverReply {}))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopReply>, Status> {
        self.stop.send_replace(true);
        Ok(Response::new(StopReply {}))
    }
}
