//! One local folder with its engine per local path, whatever number of specs and containers use it.
//!
//! Handles only: the folder's state belongs to its task (`feed`). A path that is opened again waits until its
//! last folder is closed, so that the two never undo each other.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
};

use futures::future::join_all;
use ksync_engine::{Command, Engine, FirstPull, Questions, Unasked, joined_tops};
use ksync_tree::Ignore;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, info_span, warn};

use super::{
    edits::LocalEdits,
    election::Election,
    feed::{self, Feed, UntoldEdits},
    fs_watch::FsWatch,
    ignore,
    process::LocalSyncthing,
    root::{self, LocalRoot},
    state::{Closed, LocalState, taken_up},
    unasked::phrase,
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
    /// Files that were in sync and were gone here: deleted in the containers now, or put back here.
    pub gone_here: usize,
    /// What only a container has: on its way here, or still asked about when the answer was no.
    pub first_pull: Option<FirstPull>,
    /// What did not come here unasked, in words, and how much of it stands here, and is put back when the answer was no.
    pub unasked: Option<(String, usize)>,
    /// Paths of all that only containers have; each stands for all below it.
    pub tops: Vec<String>,
}

impl Answered {
    fn to(asked: Vec<Questions>) -> Self {
        let (mut answered, mut tops) = (Self::default(), Vec::new());
        for Questions { removed, gone_here, first_pull, unasked } in asked {
            answered.deletions += removed.map_or(0, |much| much.files);
            // Each replica has the same.
            answered.gone_here = answered.gone_here.max(gone_here.map_or(0, |much| much.files));
            tops.extend(first_pull.as_ref().map(|pull| pull.tops.clone()));
            tops.extend(unasked.as_ref().map(|asked| asked.tops.clone()));
            answered.first_pull = answered.first_pull.or(first_pull);
            let told = |asked: Unasked| (phrase(&asked), asked.replaced);
            answered.unasked = answered.unasked.or(unasked.map(told));
        }
        answered.tops = joined_tops(tops);
        answered
    }
}

/// A folder in use. Nothing is synced any more when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct LocalFolder {
    /// Folder id, the same on the nodes.
    pub id: String,
    /// What is not synced.
    pub ignore: Ignore,
    /// What of it the specs say.
    pub patterns: Vec<String>,
    /// The engine that keeps it equal.
    pub engine: Engine,
    /// Which container's changes come back.
    pub two_way: Election,
    /// What is changed here by others than the engine.
    pub edits: Arc<LocalEdits>,
    state: watch::Receiver<LocalState>,
    _end: DropGuard,
}

impl LocalFolder {
    /// Follows the local side.
    pub(crate) fn state(&self) -> watch::Receiver<LocalState> {
        self.state.clone()
    }

    /// Waits until the folder was listed, and can be synced.
    pub(crate) async fn taken_up(&self) -> Result<(), Closed> {
        taken_up(self.state.clone()).await
    }

    /// Tells which containers of a kind run: the others of its family are no more, and what they were asked about neither.
    pub(crate) async fn running<'c>(
        &self,
        kind: &ContainerKind,
        containers: impl Iterator<Item = &'c str>,
        leaving: &BTreeSet<String>,
    ) {
        let name = |id: &str| ksync_engine::name(id, &kind.name);
        let (names, leaving) = (containers.map(name).collect(), leaving.iter().map(|id| name(id)).collect());
        let (kind, family) = (Arc::clone(&kind.name), kind.family.clone());
        self.engine.send(Command::Running { kind, family, names, leaving }).await;
    }

    /// Answers what waits for a person: deletions are applied, or undone; what only a container has is brought here. Not to
    /// bring it takes patterns in the spec, which are not in force yet when this returns.
    pub(crate) async fn answer(&self, accept: bool) -> Result<Answered, Closed> {
        let (reply, asked) = oneshot::channel();
        self.engine.send(Command::Answer { agree: accept, reply }).await;
        Ok(Answered::to(asked.await.map_err(|_| Closed::folder())?))
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
    /// All that were opened: whoever asks about them does not wait for one that is being opened.
    opened: std::sync::Mutex<Vec<Weak<LocalFolder>>>,
}

impl LocalFolders {
    /// None in use yet. `session_id` keeps the ids of two machines apart on one node; what is known of containers is
    /// written down in `waiting`.
    pub(crate) fn new(syncthing: Arc<LocalSyncthing>, session_id: &str, waiting: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            syncthing,
            session_id: session_id.to_owned(),
            waiting,
            live: Mutex::default(),
            opened: std::sync::Mutex::default(),
        })
    }

    /// The folder over `path`, if it is in use.
    pub(crate) async fn find(&self, path: &Path) -> Option<Arc<LocalFolder>> {
        self.live.lock().await.get(path)?.folder.upgrade()
    }

    /// Has both sides of all folders compared as of now or later; each container's
    /// [`as_of`](ksync_engine::MemberState::as_of) tells when they were.
    pub(crate) async fn compare(&self) {
        let folders: Vec<Arc<LocalFolder>> = {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.retain(|folder| folder.strong_count() > 0);
            opened.iter().filter_map(Weak::upgrade).collect()
        };
        join_all(folders.iter().map(|folder| folder.engine.send(Command::Compare))).await;
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
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&folder));
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
        root_dir.sweep();
        let ignore = ignore::in_force(path, patterns)?;
        let fs_watch = FsWatch::start(path, ignore.clone())
            .map_err(|source| Error::Watch { path: path.to_owned(), source })?;
        let hash = blake3::hash(format!("{}\n{}", self.session_id, path.display()).as_bytes());
        let id = format!("ksync-{}", hash.to_hex().chars().take(16).collect::<String>());
        let kept = self.syncthing.kept().join(&id);
        if let Err(error) = crate::kept::note(&kept, path) {
            warn!(%error, kept = %kept.display(), "note whose kept files these are; they can't be listed without");
        }
        let untold = UntoldEdits::default();
        let (marks_tx, marks_rx) = mpsc::unbounded_channel();
        let journal = self.journal(path, &id)?;
        let engine = feed::start(&feed::Start {
            root: &root_dir,
            ignore: &ignore,
            kept: &kept,
            journal,
            untold: &untold,
            marks_tx,
        })
        .map_err(|source| Error::Engine { source })?;
        let two_way = Election::default();
        if let Some(last) = engine.state().borrow().two_way.clone() {
            two_way.remember(ksync_engine::id_of(&last));
        }
        let (state_tx, state) = watch::channel(LocalState::default());
        let (edits, end) = (Arc::<LocalEdits>::default(), CancellationToken::new());
        let feed = Feed {
            engine: engine.clone(),
            path: path.to_owned(),
            ignore: ignore.clone(),
            root: root_dir,
            state_tx,
            edits: Arc::clone(&edits),
            untold,
            marks_rx,
        };
        let span = info_span!(parent: None, "local", path = %path.display());
        let work = feed.run(fs_watch, end.clone());
        tokio::spawn(
            async move {
                let _closed = closed.drop_guard();
                work.await;
            }
            .instrument(span),
        );
        Ok(LocalFolder {
            id,
            ignore,
            patterns: patterns.to_vec(),
            engine,
            two_way,
            edits,
            state,
            _end: end.drop_guard(),
        })
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
