//! One local syncthing folder per local path, whatever number of specs and containers use it.
//!
//! Handles only: the folder's state belongs to its task (`actor`). A path that is opened again waits until its
//! last folder is closed, so that the two never undo each other.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, Weak},
};

use ksync_engine::{Command as EngineCommand, Engine, Questions};
use ksync_tree::{Ignore, Root};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};
use tracing::{Instrument, info_span, warn};

use super::{
    actor::{Actor, Closed, Command, LocalState, Start, taken_up},
    approval::{ContainerRef, FirstPull, FirstPullApproval, PendingFile},
    direct::{self, DIRECT, DirectFolder, UntoldEdits},
    election::Election,
    fs_watch::FsWatch,
    history::{Listings, LocalEdits, OwnWrites, RecentVersions},
    ignore,
    process::LocalSyncthing,
    root::{self, LocalRoot},
};
use crate::{blocking, config::same_patterns, kind::ContainerKind};

/// Why a local path can't be synced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The directory can't be had.
    #[error(transparent)]
    Root(#[from] root::Error),
    /// The ignore patterns can't be put in place.
    #[error(transparent)]
    Ignore(#[from] ignore::Error),
    /// The directory can't be watched.
    #[error("watch `{path}`")]
    Watch {
        /// The local path.
        path: PathBuf,
        /// The system's word.
        source: notify::Error,
    },
    /// There is no place for what is known.
    #[error("make `{path}`")]
    Waiting {
        /// The place.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The engine can't start.
    #[error("start the engine of the local path")]
    Engine {
        /// Why.
        source: ksync_engine::StartError,
    },
    /// A spec that leaves out something else has it.
    #[error("`{path}` is synced with other `ignore` patterns")]
    Patterns {
        /// The local path.
        path: PathBuf,
    },
    /// Somebody else's syncthing shares the directory.
    #[error("`{path}` is a folder of another syncthing (it has a `.stfolder`)")]
    Foreign {
        /// The local path.
        path: PathBuf,
    },
}

/// What an answer was given to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Files that containers had deleted: gone here now, or put back there.
    pub deletions: usize,
    /// What only a container has: on its way here, or still asked about when the answer was no.
    pub first_pull: Option<FirstPull>,
}

impl Answered {
    fn to(asked: Vec<Questions>) -> Self {
        let mut answered = Self::default();
        for Questions { removed, gone_here, first_pull } in asked {
            answered.deletions += removed.into_iter().chain(gone_here).map(|much| much.files).sum::<usize>();
            answered.first_pull = answered.first_pull.or(first_pull.map(|pull| FirstPull {
                source: ContainerRef::default(),
                files: pull.files,
                bytes: pull.bytes,
                tops: pull.tops,
                accepted: false,
            }));
        }
        answered
    }
}

/// Why mounts can't be left out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExcludeError {
    /// The patterns can't be put in place.
    #[error(transparent)]
    Ignore(#[from] ignore::Error),
    /// The local folder was closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// A folder in use. It is taken from syncthing when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct LocalFolder {
    /// Folder id, the same on the nodes.
    pub id: String,
    /// The local path.
    pub path: PathBuf,
    /// What is not synced.
    pub ignore: Ignore,
    /// What of it the specs say.
    pub patterns: Vec<String>,
    /// The engine that keeps it equal, where folders go that way.
    pub engine: Option<Engine>,
    /// Where what is replaced or removed here is kept.
    pub kept: PathBuf,
    /// Which container's changes come back.
    pub two_way: Election,
    /// The container that was compared first.
    pub first_compared: OnceLock<String>,
    /// What is here.
    pub listings: Listings,
    /// What was here lately.
    pub versions: Arc<RecentVersions>,
    /// What is written here for containers.
    pub own_writes: Arc<OwnWrites>,
    /// What is changed here by others than that.
    pub edits: Arc<LocalEdits>,
    root_dir: Arc<LocalRoot>,
    /// Where it is asked whether much that only a container has is brought here.
    pub first_pull: FirstPullApproval,
    state: watch::Receiver<LocalState>,
    commands: mpsc::UnboundedSender<Command>,
    _end: DropGuard,
}

/// The folder is shared with a device as long as this lives.
#[derive(Debug)]
pub(crate) struct Share {
    device: String,
    commands: mpsc::UnboundedSender<Command>,
    _dialling: AbortOnDropHandle<()>,
}

impl Drop for Share {
    fn drop(&mut self) {
        // The folder may be gone already, and its shares with it.
        let _ = self.commands.send(Command::Unshare { device: std::mem::take(&mut self.device) });
    }
}

impl LocalFolder {
    /// Follows the local side.
    pub(crate) fn state(&self) -> watch::Receiver<LocalState> {
        self.state.clone()
    }

    /// Shares the folder with a node's device, dialled at `address`, which may change. The far side must be configured
    /// first.
    pub(crate) async fn share(&self, device: &str, mut address: watch::Receiver<SocketAddr>) -> Share {
        let (done, shared) = oneshot::channel();
        let (commands, of) = (self.commands.clone(), device.to_owned());
        let _ =
            self.commands.send(Command::Share { device: device.to_owned(), address: address.clone(), done });
        address.mark_unchanged();
        let dialling = async move {
            while address.changed().await.is_ok() {
                if commands.send(Command::Dial { device: of.clone() }).is_err() {
                    return;
                }
            }
        };
        let share = Share {
            device: device.to_owned(),
            commands: self.commands.clone(),
            _dialling: AbortOnDropHandle::new(tokio::spawn(dialling)),
        };
        // An error means that the actor has ended; its end is seen in `state`.
        let _ = shared.await;
        share
    }

    /// The directory, open. A later one may be its successor: see [`LocalFolder::is_at`].
    pub(crate) fn root(&self) -> Arc<Root> {
        self.root_dir.root()
    }

    /// Whether `root` is the directory of the folder, and what the local path leads to; a sentence when it is not.
    pub(crate) fn is_at(&self, root: &Arc<Root>) -> Result<(), String> {
        self.root_dir.check()?;
        if Arc::ptr_eq(root, &self.root_dir.root()) {
            return Ok(());
        }
        Err(format!("`{}` was made anew", self.path.display()))
    }

    /// Agrees to a deletion that a living container made. What is not synced is nobody's to delete here.
    pub(crate) fn container_deleted(&self, path: &str, by: &Arc<ContainerRef>) {
        if self.ignore.matches(path) {
            return;
        }
        let _ = self.commands.send(Command::Deleted { path: path.to_owned(), by: Arc::clone(by) });
    }

    /// Takes that back: the container has the path again.
    pub(crate) fn container_restored(&self, path: &str) {
        let _ = self.commands.send(Command::Restored { path: path.to_owned() });
    }

    /// Waits until the local syncthing scans the folder. While none runs, `say` is told why, where that is known.
    pub(crate) async fn taken_up(&self, say: impl Fn(&str)) -> Result<(), Closed> {
        taken_up(self.state.clone(), say).await
    }

    /// Tells that a container whose deletions wait is not attached any more: nothing that is put back here goes there.
    pub(crate) fn detached(&self) {
        let _ = self.commands.send(Command::Detached);
    }

    /// Tells which containers of `spec` run: what others of its containers have deleted waits no longer, they are gone.
    pub(crate) async fn running(&self, spec: &str, kind: &ContainerKind, containers: BTreeSet<String>) {
        if let Some(engine) = &self.engine {
            let names = containers.iter().map(|id| ksync_engine::name(id, &kind.name)).collect();
            let (kind, family) = (Arc::clone(&kind.name), kind.family.clone());
            return engine.send(EngineCommand::Running { kind, family, names }).await;
        }
        let _ = self.commands.send(Command::Running { spec: spec.to_owned(), containers });
    }

    /// Answers what waits for a person: deletions are applied here, or put back into the container; what only a container
    /// has is brought here. Not to bring it takes patterns in the spec, which are not in force yet when this returns.
    pub(crate) async fn answer(&self, accept: bool) -> Result<Answered, Closed> {
        if let Some(engine) = &self.engine {
            let (reply, asked) = oneshot::channel();
            engine.send(EngineCommand::Answer { agree: accept, reply }).await;
            return Ok(Answered::to(asked.await.map_err(|_| Closed::folder())?));
        }
        let (done, answered) = oneshot::channel();
        self.commands.send(Command::Answer { accept, done }).map_err(|_| Closed::folder())?;
        let deletions = answered.await.map_err(|_| Closed::folder())??;
        let first_pull = if accept { self.first_pull.accept() } else { self.first_pull.open() };
        Ok(Answered { deletions, first_pull })
    }

    /// Waits until every change noticed so far is scanned; returns the sequence of our index then.
    pub(crate) async fn scanned(&self) -> Result<i64, Closed> {
        let mut state = self.state.clone();
        // What was just handed over must be seen by the actor before its state can tell.
        let (done, seen) = oneshot::channel();
        self.commands.send(Command::Barrier { done }).map_err(|_| Closed::folder())?;
        seen.await.map_err(|_| Closed::folder())?;
        let over = |s: &LocalState| s.error().is_some() || s.process().is_some() && !s.pending;
        let now = state.wait_for(over).await.map_err(|_| Closed::folder())?;
        now.error().map_or(Ok(now.sequence), |error| Err(Closed::new(error)))
    }

    /// Leaves `paths` out from now on: what a container has there are mounts, not its own files. Returns once
    /// syncthing has taken it in.
    pub(crate) async fn exclude(&self, paths: Vec<String>) -> Result<(), ExcludeError> {
        let (done, excluded) = oneshot::channel();
        self.commands.send(Command::Exclude { paths, done }).map_err(|_| Closed::folder())?;
        excluded.await.map_err(|_| Closed::folder())??;
        self.scanned().await?;
        Ok(())
    }

    /// Has `paths` scanned; none means everything.
    pub(crate) fn scan(&self, paths: Vec<String>) {
        let _ = self.commands.send(Command::Scan { paths });
    }
}

/// A folder that may still be in use, and when it is closed.
#[derive(Debug)]
struct Entry {
    folder: Weak<LocalFolder>,
    closed: CancellationToken,
}

/// All local folders in use, by path.
#[derive(Debug)]
pub(crate) struct LocalFolders {
    syncthing: Arc<LocalSyncthing>,
    session_id: String,
    waiting: PathBuf,
    live: Mutex<HashMap<PathBuf, Entry>>,
}

impl LocalFolders {
    /// None in use yet. `session_id` keeps the ids of two machines apart on one node; what waits for a person is kept in
    /// `waiting`.
    pub(crate) fn new(syncthing: Arc<LocalSyncthing>, session_id: &str, waiting: PathBuf) -> Arc<Self> {
        Arc::new(Self { syncthing, session_id: session_id.to_owned(), waiting, live: Mutex::default() })
    }

    /// The folder over `path`, if it is in use.
    pub(crate) async fn find(&self, path: &Path) -> Option<Arc<LocalFolder>> {
        self.live.lock().await.get(path)?.folder.upgrade()
    }

    /// The folder over `path`, opening it when nobody has yet. `path` is absolute. One that leaves out something else, most
    /// of all that of a spec that is about to end, is refused: what is to stay out must not go out by another's patterns.
    pub(crate) async fn get(
        self: &Arc<Self>,
        path: &Path,
        patterns: &[String],
    ) -> Result<Arc<LocalFolder>, Error> {
        let mut live = self.live.lock().await;
        if let Some(entry) = live.get(path) {
            if let Some(folder) = entry.folder.upgrade() {
                let same = same_patterns(&folder.patterns, patterns);
                return same.then_some(folder).ok_or_else(|| Error::Patterns { path: path.to_owned() });
            }
            entry.closed.cancelled().await;
        }
        // Setting up a watch walks the tree: not on the runtime.
        let (this, at, patterns) = (Arc::clone(self), path.to_owned(), patterns.to_vec());
        let runtime = tokio::runtime::Handle::current();
        let closed = CancellationToken::new();
        let done = closed.clone();
        let opened = blocking::run(move || {
            let _entered = runtime.enter();
            this.open(&at, &patterns, done).map(Arc::new)
        });
        let folder = opened.await?;
        live.insert(path.to_owned(), Entry { folder: Arc::downgrade(&folder), closed });
        Ok(folder)
    }

    /// Where it is written down what is known of a local path's containers. What is another file system was never in sync: a
    /// disk that is not mounted leaves an empty directory.
    fn journal(&self, path: &Path, id: &str) -> Result<PathBuf, Error> {
        let io = |source: io::Error| Error::Waiting { path: self.waiting.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.waiting).map_err(io)?;
        let system = rustix::fs::statvfs(path).map_err(|error| io(error.into()))?.f_fsid;
        Ok(self.waiting.join(format!("{id}-{system:x}.ancestors")))
    }

    fn open(
        &self,
        path: &Path,
        patterns: &[String],
        closed: CancellationToken,
    ) -> Result<LocalFolder, Error> {
        let root_dir = Arc::new(LocalRoot::open(path)?);
        if path.join(".stfolder").exists() {
            return Err(Error::Foreign { path: path.to_owned() });
        }
        root_dir.sweep(false);
        let ignore = ignore::in_force(path, patterns)?;
        let fs_watch = FsWatch::start(path, ignore.clone())
            .map_err(|source| Error::Watch { path: path.to_owned(), source })?;
        let hash = blake3::hash(format!("{}\n{}", self.session_id, path.display()).as_bytes());
        let id = format!("ksync-{}", hash.to_hex().chars().take(16).collect::<String>());
        let kept = self.syncthing.kept().join(&id);
        if let Err(error) = crate::kept::note(&kept, path) {
            warn!(%error, kept = %kept.display(), "note whose kept files these are; they can't be listed without");
        }
        let end = CancellationToken::new();
        // Without a bound: a share that is dropped can't wait for room. Who sends much (a container's deletions) is held up by
        // radar's stream of events, and the actor is quicker than that.
        let (commands, commands_rx) = mpsc::unbounded_channel();
        let pending_file = PendingFile::new(&self.waiting, path);
        let versions = Arc::<RecentVersions>::default();
        let (pending_deletions, rollbacks) = pending_file.load();
        let (state_tx, state) = watch::channel(LocalState { pending_deletions, ..LocalState::default() });
        let (own_writes, edits) = (Arc::<OwnWrites>::default(), Arc::<LocalEdits>::default());
        let span = info_span!(parent: None, "local", path = %path.display());
        let untold = UntoldEdits::default();
        let journal = self.journal(path, &id)?;
        let engine = DIRECT
            .then(|| {
                direct::start(&direct::Start {
                    root: &root_dir,
                    ignore: &ignore,
                    named: patterns,
                    kept: &kept,
                    journal,
                    untold: &untold,
                })
            })
            .transpose()
            .map_err(|source| Error::Engine { source })?;
        let two_way = Election::default();
        if let Some(last) = engine.as_ref().and_then(|engine| engine.state().borrow().two_way.clone()) {
            two_way.remember(ksync_engine::id_of(&last));
        }
        let start = Start {
            id: id.clone(),
            path: path.to_owned(),
            root: Arc::clone(&root_dir),
            kept: kept.clone(),
            patterns: patterns.to_vec(),
            ignore: ignore.clone(),
            syncthing: self.syncthing.state(),
            state_tx,
            pending_file,
            rollbacks,
            versions: Arc::clone(&versions),
            own_writes: Arc::clone(&own_writes),
            edits: Arc::clone(&edits),
        };
        let work = work(start, engine.clone(), untold, fs_watch, commands_rx, end.clone());
        tokio::spawn(
            async move {
                let _closed = closed.drop_guard();
                work.await;
            }
            .instrument(span),
        );
        Ok(LocalFolder {
            id,
            path: path.to_owned(),
            ignore,
            patterns: patterns.to_vec(),
            engine,
            kept,
            two_way,
            first_compared: OnceLock::new(),
            listings: Listings::default(),
            versions,
            own_writes,
            edits,
            root_dir,
            first_pull: FirstPullApproval::default(),
            state,
            commands,
            _end: end.drop_guard(),
        })
    }
}

/// The work of a folder's task, by the engine where there is one.
async fn work(
    start: Start,
    engine: Option<Engine>,
    untold: UntoldEdits,
    fs_watch: FsWatch,
    commands: mpsc::UnboundedReceiver<Command>,
    end: CancellationToken,
) {
    match engine {
        Some(engine) => {
            let Start { path, root, ignore, state_tx, edits, .. } = start;
            let folder = DirectFolder { engine, path, ignore, root, state_tx, edits, untold };
            folder.run(fs_watch, commands, end).await;
        }
        None => Actor::new(start).run(fs_watch, commands, end).await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Error, LocalFolders};
    use crate::local::process::LocalSyncthing;

    #[tokio::test]
    async fn a_spec_never_goes_by_the_patterns_of_another_and_finds_nothing_unfinished() {
        let [path, own] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let syncthing = LocalSyncthing::none(own.path().join("kept"));
        let locals = LocalFolders::new(syncthing, "s", own.path().join("waiting"));
        let get = |pattern: &str| {
            let (locals, path, patterns) = (Arc::clone(&locals), path.path(), [pattern.to_owned()]);
            async move { locals.get(path, &patterns).await }
        };
        std::fs::create_dir(path.path().join("d")).unwrap();
        for left in [".syncthing.f.tmp", "d/.ksync.0.tmp", "d/mine.tmp"] {
            std::fs::write(path.path().join(left), "").unwrap();
        }
        let first = get("noise").await.unwrap();
        let there = |name: &str| path.path().join(name).exists();
        assert!(!there(".syncthing.f.tmp") && !there("d/.ksync.0.tmp") && there("d/mine.tmp"));
        assert!(Arc::ptr_eq(&first, &get("noise").await.unwrap()));
        let error = get("secret").await.unwrap_err();
        assert!(matches!(error, Error::Patterns { .. }), "{error}");
        // The first spec was deleted.
        drop(first);
        let second = get("secret").await.unwrap();
        assert!(second.ignore.matches("secret") && !second.ignore.matches("noise"));
    }
}
