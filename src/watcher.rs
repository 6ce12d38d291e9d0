//! The watcher: one background process per kubeconfig context and cluster.
//!
//! It owns the lock, the socket, the local syncthing and every spec. Invariant: it reports itself ready only
//! when all of them stand, and when it ends, everything is let go of in order, with a limit.

pub(crate) mod client;
mod compared;
pub(crate) mod daemon;
mod server;
mod view;
mod wire;

pub(crate) use view::{BoardView, ServiceView, SpecView};

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rand::RngExt;
use tokio::{signal::unix::SignalKind, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    blocking,
    cluster::{Access, ClusterConfig},
    config::Store,
    folder::TakeOver,
    home::{ContextDir, Home},
    local::{self, LocalFolders, LocalSyncthing},
    lock::{self, Lock},
    node::{LargeFile, Nodes, NotASize, SessionIdentity},
    reload::Reloads,
    spec::Shared,
    speclist::{Cluster, ClusterPins, SpecList},
    status::BoardTx,
};

/// How long the lock may be held by somebody who only looks at it.
const LOOKED_AT: Duration = Duration::from_millis(200);
/// How long the local syncthing may take to answer at the start.
const SYNCTHING_LIMIT: Duration = Duration::from_secs(30);
/// How often what is kept is swept.
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// How long letting go of everything may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(12);

/// Why a watcher does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another one has the lock.
    #[error("a watcher for context `{context}` already runs{}", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    AlreadyRuns {
        /// The context.
        context: String,
        /// The other's process id.
        pid: Option<u32>,
    },
    /// The lock can't be used.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// The state directory can't be used.
    #[error(transparent)]
    Home(#[from] crate::home::Error),
    /// The environment says no size.
    #[error(transparent)]
    LargeFile(#[from] NotASize),
    /// syncthing was never fetched.
    #[error("syncthing is not installed in `{path}`")]
    NoSyncthing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The local syncthing can't be started.
    #[error("start the local syncthing")]
    Syncthing(#[from] local::Error),
    /// The local syncthing did not answer.
    #[error("the local syncthing does not answer within {SYNCTHING_LIMIT:?}; its log is `{log}`")]
    SyncthingSilent {
        /// Its log.
        log: PathBuf,
    },
    /// There is no key to show to radar.
    #[error(transparent)]
    Keys(#[from] ksync_keys::Error),
    /// The socket can't be bound, or the session's id not be kept.
    #[error("{operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

impl Error {
    /// What to do about it; empty when there is nothing to say.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::AlreadyRuns { .. } => {
                "see what it does with `kubectl ksync get`, end it with `kubectl ksync stop`"
            }
            Self::LargeFile(_) => "a size is a number of bytes, or of `Ki`, `Mi` or `Gi`, as in `256Mi`",
            Self::NoSyncthing { .. } => "run `kubectl ksync init`",
            _ => "",
        }
    }
}

/// What a watcher is started with.
pub(crate) struct Watcher {
    /// Where things are kept.
    pub home: Home,
    /// The cluster it serves.
    pub cluster: ClusterConfig,
}

impl Watcher {
    /// Runs until it is told to stop. `ready` is called once everything stands.
    pub(crate) async fn run(self, ready: impl FnOnce()) -> Result<(), Error> {
        let large_file = LargeFile::from_env()?;
        let cluster = Cluster { context: self.cluster.context.clone(), hash: self.cluster.hash() };
        let dir = self.home.context(&cluster.context, &cluster.hash);
        dir.create()?;
        let path = dir.lock();
        // A command may look at the lock just now.
        let lock = match blocking::run(move || Lock::acquire(&path, LOOKED_AT)).await {
            Err(lock::Error::Held { pid, .. }) => {
                return Err(Error::AlreadyRuns { context: cluster.context, pid });
            }
            other => other?,
        };
        clear(dir.spools()).await;
        let syncthing = self.start_syncthing(&dir)?;
        let Ok(Some(_)) = tokio::time::timeout(SYNCTHING_LIMIT, syncthing.ready()).await else {
            return Err(Error::SyncthingSilent { log: syncthing_log(&dir) });
        };
        let syncthing_home = dir.syncthing_home();
        let identity = blocking::run(move || SessionIdentity::of_home(&syncthing_home)).await?;
        let board = BoardTx::default();
        let (stop, served) = (CancellationToken::new(), CancellationToken::new());
        // There may be no credentials and no cluster yet: `get` tells.
        let access = Access::open(self.cluster.clone(), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(tell(access.trouble(), board.clone())));
        let locals = LocalFolders::new(Arc::clone(&syncthing), &session_id(&dir)?, dir.waiting());
        let reloads = Arc::new(Reloads::default());
        let shared = Shared {
            client: access.client(),
            namespace: self.cluster.own_namespace.clone(),
            nodes: Nodes::new(access.client(), identity, Arc::clone(&syncthing), dir.spools(), large_file),
            locals: Arc::clone(&locals),
            take_over: TakeOver::default(),
            kinds: dir.kinds(),
            reloads: Arc::clone(&reloads),
            board: board.clone(),
        };

        let (stopped_tx, stopped) = watch::channel(false);
        let endpoint = server::Endpoint {
            context: self.cluster.context.clone(),
            board: board.subscribe(),
            access,
            locals,
            reloads,
            stop: stop.clone(),
            take_over: shared.take_over.clone(),
            stopped,
        };
        let serving = serve(&dir, endpoint, &served)?;
        let pins = ClusterPins::new(self.home.contexts_dir().join("pins"));
        let speclist = SpecList::new(Store::new(self.home.config_file()), pins, cluster, shared);
        let mut specs = tokio::spawn(speclist.run(stop.clone()));
        let sweeping = tokio::spawn(sweep_kept(dir.kept()));
        // A watcher that does not get this far has not run: its starter is told why.
        let end = Ending::begin(&dir);
        info!(version = env!("CARGO_PKG_VERSION"), "ready");
        ready();

        let reason = tokio::select! {
            reason = signalled() => reason,
            () = stop.cancelled() => "`kubectl ksync stop`",
            ended = &mut specs => match ended {
                Ok(()) => "its specs ended",
                Err(_) => "a defect: its specs panicked, see its log",
            },
        };
        info!(reason, "stopping");
        stop.cancel();
        sweeping.abort();
        if !specs.is_finished() && tokio::time::timeout(CLOSE_LIMIT, specs).await.is_err() {
            warn!(limit = ?CLOSE_LIMIT, "not everything was let go of; the leases on the nodes end it");
        }
        syncthing.stop().await;
        clear(dir.spools()).await;
        end.write(reason);
        stopped_tx.send_replace(true);
        served.cancel();
        if let Err(error) = serving.await {
            warn!(%error, "the status endpoint");
        }
        // Only a long home has its sockets in a directory of their own; one that is not empty stays.
        if let Some(own) = dir.socket().parent().filter(|own| *own != dir.path()) {
            // syncthing may have removed its socket itself.
            let _ = std::fs::remove_file(dir.syncthing_socket());
            if let Err(error) = std::fs::remove_dir(own) {
                warn!(%error, "remove the sockets' directory");
            }
        }
        // `stop` waits for it, and means the process.
        lock.keep_until_exit();
        Ok(())
    }

    fn start_syncthing(&self, dir: &ContextDir) -> Result<Arc<LocalSyncthing>, Error> {
        let binary = self.home.syncthing();
        if !binary.exists() {
            return Err(Error::NoSyncthing { path: binary });
        }
        crate::home::check_program(&binary).map_err(|source| Error::Io {
            operation: "run",
            path: binary.clone(),
            source,
        })?;
        let socket = dir.syncthing_socket();
        if let Some(parent) = socket.parent() {
            crate::home::private_dir(parent)?;
        }
        let paths = local::Paths {
            binary,
            home: dir.syncthing_home(),
            socket,
            log: syncthing_log(dir),
            kept: dir.kept(),
        };
        Ok(LocalSyncthing::start(paths)?)
    }
}

fn serve(
    dir: &ContextDir,
    endpoint: server::Endpoint,
    served: &CancellationToken,
) -> Result<JoinHandle<()>, Error> {
    let path = dir.socket();
    if let Some(parent) = path.parent() {
        crate::home::private_dir(parent)?;
    }
    let bound = server::Socket::bind(&path);
    let socket = bound.map_err(|source| Error::Io { operation: "listen on", path, source })?;
    Ok(tokio::spawn(socket.serve(endpoint, served.clone())))
}

/// Why the last watcher ended, for `get` to tell.
struct Ending(PathBuf);

impl Ending {
    fn begin(dir: &ContextDir) -> Self {
        let ending = Self(end_file(dir));
        ending.write("it was killed");
        ending
    }

    fn write(&self, reason: &str) {
        if let Err(error) = std::fs::write(&self.0, reason) {
            warn!(%error, "note why the watcher ended");
        }
    }
}

fn end_file(dir: &ContextDir) -> PathBuf {
    dir.path().join("ended")
}

/// Why the last watcher of a context ended; none when there never was one.
pub(crate) fn last_end(dir: &ContextDir) -> Option<String> {
    std::fs::read_to_string(end_file(dir)).ok().filter(|reason| !reason.is_empty())
}

/// Removes what was on its way.
async fn clear(spools: PathBuf) {
    match tokio::fs::remove_dir_all(&spools).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(%error, path = %spools.display(), "remove what was on its way");
        }
        _ => {}
    }
}

fn syncthing_log(dir: &ContextDir) -> PathBuf {
    dir.path().join("syncthing.log")
}

/// Puts the cluster's trouble on the board.
async fn tell(mut trouble: watch::Receiver<Option<String>>, board: BoardTx) {
    loop {
        let now = trouble.borrow_and_update().clone();
        board.modify(|board| board.cluster_error = now);
        if trouble.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps what is kept within its limits.
async fn sweep_kept(kept: PathBuf) {
    let mut next = tokio::time::interval(SWEEP_EVERY);
    loop {
        next.tick().await;
        let kept = kept.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || crate::kept::sweep(&kept)).await {
            warn!(%error, "sweep what is kept");
        }
    }
}

/// SIGTERM or SIGINT.
async fn signalled() -> &'static str {
    let signal = |kind| tokio::signal::unix::signal(kind).ok();
    let (mut term, mut int) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let wait = async |signal: &mut Option<tokio::signal::unix::Signal>| match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    };
    tokio::select! {
        () = wait(&mut term) => "SIGTERM",
        () = wait(&mut int) => "SIGINT",
    }
}

/// What keeps this home's folders apart from other homes', made at the first start.
fn session_id(dir: &ContextDir) -> Result<String, Error> {
    let path = dir.path().join("session");
    let io = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { operation, path, source }
    };
    match std::fs::read_to_string(&path) {
        Ok(id) if id.trim().len() == 32 => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(io("read", &path)(source)),
    }
    let id = format!("{:032x}", rand::rng().random::<u128>());
    std::fs::write(&path, &id).map_err(io("write", &path))?;
    Ok(id)
}
