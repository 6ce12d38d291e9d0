//! The status endpoint: gRPC on a Unix socket that only its user can open.
//!
//! Handlers read the board, as it is told (`compared`), or send a request; they own nothing.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use ksync_proto::watch::{
    AnswerReply, AnswerRequest, ReloadReply, ReloadRequest, StatusReply, StatusRequest, StopReply,
    StopRequest, TakeOverReply, TakeOverRequest, VersionReply, VersionRequest, WakeReply, WakeRequest,
    watch_server::{Watch, WatchServer},
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};
use tokio_stream::{
    StreamExt as _,
    wrappers::{ReceiverStream, UnixListenerStream},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    compared::{claims_more, compared},
    wire,
};
use crate::{
    cluster::Access, config::ReloadMode, folder::TakeOver, home::is_trusted, local::LocalFolders,
    reload::Reloads, status::Board,
};

/// How long a stop waits for everything to be let go of.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The endpoint's state: reading ends, the requests to stop and to look again, and whom answers are passed to.
pub(super) struct Endpoint {
    /// Of the kubeconfig.
    pub(super) context: String,
    pub(super) board: watch::Receiver<Board>,
    pub(super) access: Access,
    pub(super) reloads: Arc<Reloads>,
    pub(super) locals: Arc<LocalFolders>,
    pub(super) stop: CancellationToken,
    pub(super) take_over: TakeOver,
    /// True once everything is let go of.
    pub(super) stopped: watch::Receiver<bool>,
}

/// A socket that listens; its file is removed with it.
pub(super) struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Socket {
    /// Binds `path`, in the place of a stale one: the caller holds the watcher's lock, so nobody listens there.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener: Some(listener), path: path.to_owned() })
    }

    /// Serves until `end`.
    pub(super) async fn serve(mut self, endpoint: Endpoint, end: CancellationToken) {
        let Some(listener) = self.listener.take() else { return };
        let incoming = UnixListenerStream::new(listener).filter(|stream| match stream {
            Ok(stream) => is_ours(stream),
            Err(_) => true,
        });
        let server = tonic::transport::Server::builder()
            .add_service(WatchServer::new(endpoint))
            .serve_with_incoming_shutdown(incoming, end.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(error = ksync_common::chain(&error), "the status endpoint ended");
        }
    }
}

/// Whether the other end is this user's or root's (SO_PEERCRED, unix(7)), whatever became of the socket's mode.
fn is_ours(stream: &UnixStream) -> bool {
    match stream.peer_cred() {
        Ok(peer) if is_trusted(peer.uid()) => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "another user has connected to the watcher's socket: refused");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "who has connected to the watcher's socket can't be told: refused");
            false
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "remove the socket");
        }
    }
}

#[tonic::async_trait]
impl Watch for Endpoint {
    type FollowStream = ReceiverStream<Result<StatusReply, Status>>;

    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionReply>, Status> {
        Ok(Response::new(VersionReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            context: self.context.clone(),
        }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let board = compared(&mut self.board.clone(), &self.locals).await;
        Ok(Response::new(wire::reply(&board, &self.context)))
    }

    async fn follow(&self, _: Request<StatusRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let (tx, rx) = mpsc::channel(1);
        let (mut board, context) = (self.board.clone(), self.context.clone());
        let locals = Arc::clone(&self.locals);
        tokio::spawn(async move {
            let mut told = Board::default();
            loop {
                let now = board.borrow_and_update().clone();
                told = if claims_more(&now, &told) { compared(&mut board, &locals).await } else { now };
                if tx.send(Ok(wire::reply(&told, &context))).await.is_err() || board.changed().await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(rx)))
    }

    async fn take_over(&self, request: Request<TakeOverRequest>) -> Result<Response<TakeOverReply>, Status> {
        self.take_over.ask(request.into_inner().spec);
        Ok(Response::new(TakeOverReply {}))
    }

    async fn wake(&self, _: Request<WakeRequest>) -> Result<Response<WakeReply>, Status> {
        self.access.wake();
        Ok(Response::new(WakeReply {}))
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Result<Response<ReloadReply>, Status> {
        let ReloadRequest { spec, mode, grace_ms } = request.into_inner();
        let mode = match mode.as_str() {
            "" => None,
            mode => Some(mode.parse::<ReloadMode>().map_err(Status::invalid_argument)?),
        };
        if !self.board.borrow().specs.contains_key(&spec) {
            return Err(Status::not_found(format!("spec `{spec}` not found")));
        }
        let done = self.reloads.of(&spec).into_iter().map(|target| {
            let mode = mode.clone();
            async move {
                let outcome = target.reload(mode.as_ref(), Duration::from_millis(grace_ms)).await;
                wire::reload(&target.container, outcome)
            }
        });
        Ok(Response::new(ReloadReply { containers: join_all(done).await }))
    }

    async fn answer(&self, request: Request<AnswerRequest>) -> Result<Response<AnswerReply>, Status> {
        let AnswerRequest { name, accept } = request.into_inner();
        let path = self.board.borrow().specs.get(&name).map(|spec| PathBuf::from(&spec.details.localpath));
        let path = path.ok_or_else(|| Status::not_found(format!("spec `{name}` not found")))?;
        // A local path that is not open yet has nothing that could be answered.
        let Some(folder) = self.locals.find(&path).await else {
            return Ok(Response::new(AnswerReply::default()));
        };
        let answered = folder.answer(accept).await;
        answered
            .map(|answered| Response::new(wire::answered(answered)))
            .map_err(|error| Status::failed_precondition(error.to_string()))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopReply>, Status> {
        self.stop.cancel();
        let mut stopped = self.stopped.clone();
        match tokio::time::timeout(STOP_LIMIT, stopped.wait_for(|stopped| *stopped)).await {
            Ok(_) => Ok(Response::new(StopReply {})),
            Err(_) => {
                Err(Status::deadline_exceeded(format!("not everything was let go of within {STOP_LIMIT:?}")))
            }
        }
    }
}
