//! The task of a local folder: what the system's watch tells goes to the folder's engine as hints, and what the engine says
//! goes into the folder's state.
//!
//! Invariant: whoever hears of an edit finds a state that counts it.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ksync_endpoint::{Depth, Options};
use ksync_engine::{Check, Command as EngineCommand, Config, Edits, Engine, Keeper, StartError};
use ksync_merge::Keep;
use ksync_tree::{Ignore, Owner};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    edits::LocalEdits,
    fs_watch::{Debounce, FsEvent, FsWatch},
    marks::Marks,
    root::LocalRoot,
    state::LocalState,
};
use crate::{
    blocking,
    kept::{self, Moments},
};

/// Content of at most so many bytes goes with the message about it.
pub(crate) const INLINE: u64 = 64 << 10;
/// Bytes that stay free where what is replaced is kept.
const SPARE: u64 = 256 << 10;
/// Events that are taken in at once, at most.
const AT_ONCE: usize = 4096;
/// How often everything is looked at where the system watches only some of the directories.
const UNWATCHED: Duration = Duration::from_secs(10);
/// How often it is looked whether the root is there.
const ROOT_CHECK: Duration = Duration::from_secs(2);
/// The same once it is not: a build makes its output directory anew.
const ROOT_LOOK: Duration = Duration::from_millis(200);

/// Puts what is replaced or removed into the folder's kept directory.
#[derive(Debug)]
struct Kept {
    /// Of one local path.
    folder: PathBuf,
    moments: Moments,
}

impl Kept {
    fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), moments: Moments::new(folder.to_owned()) }
    }

    fn kind(why: Keep) -> kept::Kind {
        match why {
            Keep::First => kept::Kind::FirstSync,
            Keep::Conflict => kept::Kind::Conflict,
            Keep::Taken => kept::Kind::Replaced,
            Keep::Deleted => kept::Kind::Deleted,
            Keep::Accepted => kept::Kind::Accepted,
        }
    }
}

impl Keeper for Kept {
    fn has_room(&self, bytes: u64) -> io::Result<()> {
        let system = rustix::fs::statvfs(self.folder.parent().unwrap_or(&self.folder))?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < bytes.saturating_add(SPARE) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn keep(
        &self,
        why: Keep,
        path: &str,
        put: &mut dyn FnMut(&Path) -> Result<(), String>,
    ) -> Result<(), String> {
        self.moments.keep(Self::kind(why), path, put)
    }
}

/// Edits here that nobody was told of yet: whoever hears of one must see a state that counts it.
#[derive(Debug, Clone, Default)]
pub(super) struct UntoldEdits(Arc<Mutex<VecDeque<(u64, String)>>>);

impl UntoldEdits {
    fn add(&self, path: &str, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back((number, path.to_owned()));
    }

    fn take(&self, upto: u64) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.partition_point(|(number, _)| *number <= upto);
        all.drain(..count).map(|(_, path)| path).collect()
    }
}

/// What an engine is started from.
pub(super) struct Start<'a> {
    pub(super) root: &'a Arc<LocalRoot>,
    pub(super) ignore: &'a Ignore,
    pub(super) kept: &'a Path,
    pub(super) journal: PathBuf,
    pub(super) untold: &'a UntoldEdits,
    /// Marks that are to go through the watch. engine --marks--> folder's task
    pub(super) marks_tx: mpsc::UnboundedSender<u64>,
}

/// Starts the engine of a folder.
pub(super) fn start(start: &Start<'_>) -> Result<Engine, StartError> {
    let (root, untold) = (Arc::clone(start.root), start.untold.clone());
    Engine::start(Config {
        root: start.root.root().try_clone()?,
        options: Options {
            ignore: start.ignore.clone(),
            exclude: Vec::new(),
            who: None,
            owner: Owner::AsIs,
            inline: INLINE,
        },
        journal: start.journal.clone(),
        keeper: Arc::new(Kept::of(start.kept)),
        check: Check::new(move || root.check()),
        edits: Edits::new(move |path, number| untold.add(path, number)),
        marks_tx: Some(start.marks_tx.clone()),
    })
}

/// What a folder's task has.
pub(super) struct Feed {
    pub(super) engine: Engine,
    pub(super) path: PathBuf,
    pub(super) ignore: Ignore,
    pub(super) root: Arc<LocalRoot>,
    pub(super) state_tx: watch::Sender<LocalState>,
    pub(super) edits: Arc<LocalEdits>,
    pub(super) untold: UntoldEdits,
    pub(super) marks_rx: mpsc::UnboundedReceiver<u64>,
}

impl Feed {
    /// Feeds the engine until `end`.
    pub(super) async fn run(mut self, mut fs_watch: FsWatch, end: CancellationToken) {
        let (mut debounce, mut marks) = (Debounce::default(), Marks::default());
        let mut state = self.engine.state();
        let (mut root_check, mut gone) = (Instant::now(), false);
        let mut rescan = Instant::now() + UNWATCHED;
        loop {
            let due = debounce.next().into_iter().chain(marks.next()).min();
            let unwatched = self.state_tx.borrow().unwatched;
            tokio::select! {
                () = end.cancelled() => break,
                Some((at, event)) = fs_watch.rx.recv() => {
                    self.take(&mut debounce, &mut marks, at, event);
                    for _ in 0..AT_ONCE {
                        let Some((at, event)) = fs_watch.rx.try_recv() else { break };
                        self.take(&mut debounce, &mut marks, at, event);
                    }
                    self.hint_due(&mut debounce, &mut marks);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.hint_due(&mut debounce, &mut marks);
                }
                Some(number) = self.marks_rx.recv() => {
                    marks.ask(number);
                    fs_watch.mark(number);
                }
                () = sleep_until(rescan), if unwatched => {
                    rescan = Instant::now() + UNWATCHED;
                    self.engine.hint_all();
                }
                () = sleep_until(root_check) => {
                    let here = self.root.check().is_ok();
                    if here && gone {
                        self.watch_anew(&mut fs_watch, &marks).await;
                        // What came before the watch.
                        self.engine.hint_all();
                    }
                    gone = !here && !self.adopt_successor(&mut fs_watch, &marks).await;
                    root_check = Instant::now() + if gone { ROOT_LOOK } else { ROOT_CHECK };
                }
                changed = state.changed() => if changed.is_err() { break },
            }
            let now = state.borrow_and_update().clone();
            if now.halted.is_some() {
                gone = true;
                root_check = root_check.min(Instant::now() + ROOT_LOOK);
            }
            self.tell(&now, debounce.next().is_some());
        }
        self.close().await;
    }

    fn tell(&self, now: &ksync_engine::State, pending: bool) {
        self.state_tx.send_if_modified(|told| {
            let next = LocalState {
                listed: now.listed,
                halted: now.halted.clone(),
                // What was not listed yet is not known.
                pending: pending || !now.listed,
                edits: now.edits,
                unwatched: told.unwatched,
            };
            let news = *told != next;
            *told = next;
            news
        });
        for path in self.untold.take(now.edits) {
            self.edits.record(path);
        }
    }

    /// Hints what has waited long enough, and passes on the marks that have waited for that.
    fn hint_due(&self, debounce: &mut Debounce, marks: &mut Marks) {
        let now = Instant::now();
        let hint = |path: String| self.engine.hint(&path, Depth::Tree);
        debounce.due(now).into_iter().for_each(hint);
        while let Some(mark) = marks.take_due(now) {
            debounce.waiting_since(mark.at).into_iter().for_each(hint);
            self.engine.mark(mark.number);
        }
    }

    fn take(&self, debounce: &mut Debounce, marks: &mut Marks, at: Instant, event: FsEvent) {
        match event {
            FsEvent::Marked(number) => marks.came(number, at, debounce.last()),
            FsEvent::Rescan => self.engine.hint_all(),
            FsEvent::WatchLimit => {
                let news = |state: &mut LocalState| !std::mem::replace(&mut state.unwatched, true);
                if self.state_tx.send_if_modified(news) {
                    warn!("more directories than the system lets watch: everything is looked at every 10 s");
                }
                self.engine.hint_all();
            }
            FsEvent::Failed(reason) => {
                warn!(reason, "the local watch failed; looking at everything");
                self.engine.hint_all();
            }
            of_a_path => {
                for path in debounce.take(at, of_a_path) {
                    self.engine.hint(&path, Depth::Tree);
                }
            }
        }
    }

    /// Goes on with a directory that was made anew at the local path; returns whether there is one.
    async fn adopt_successor(&self, fs_watch: &mut FsWatch, marks: &Marks) -> bool {
        let adopted = match self.root.adopt_successor() {
            Ok(adopted) => adopted,
            Err(error) => {
                warn!(error = ksync_common::chain(&error), "take the local path that was made anew");
                false
            }
        };
        if !adopted {
            return false;
        }
        info!("the local path was made anew: going on with the new directory");
        self.watch_anew(fs_watch, marks).await;
        match self.root.root().try_clone() {
            Ok(root) => self.engine.send(EngineCommand::Root(root)).await,
            Err(error) => warn!(error = ksync_common::chain(&error), "open the local path once more"),
        }
        true
    }

    /// Watches what is at the local path now: nothing is told any more of what was unmounted.
    async fn watch_anew(&self, fs_watch: &mut FsWatch, marks: &Marks) {
        let (path, ignore) = (self.path.clone(), self.ignore.clone());
        match blocking::run(move || FsWatch::start(&path, ignore)).await {
            Ok(anew) => {
                *fs_watch = anew;
                for number in marks.in_watch() {
                    fs_watch.mark(*number);
                }
            }
            Err(error) => warn!(%error, "watch the local path again"),
        }
        self.state_tx.send_modify(|state| state.unwatched = false);
    }

    async fn close(self) {
        let root = Arc::clone(&self.root);
        // The engine ends with its last handle; whoever follows a container has let go of his by now, or does so soon.
        drop(self);
        blocking::run(move || root.sweep()).await;
    }
}
