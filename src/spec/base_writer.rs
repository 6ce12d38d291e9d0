//! Writes a spec's base: a picture of the local tree, taken when every container holds it.
//!
//! Invariant: what a picture shows was scanned after it was taken, and every container has acknowledged that scan.

use std::{sync::Arc, time::Duration};

use ksync_tree::{Entry, ListOptions, Listing, Skipped};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::warn;

use crate::{
    base::{Base, BaseFile},
    blocking,
    config::Direction,
    local::{LocalFolder, LocalState},
    revision::Revision,
    status::{Board, BoardTx, Status},
};

/// How long the last base may take.
const FINISH: Duration = Duration::from_secs(3);
/// How long a scan's changes may take to every container.
const REACHED: Duration = Duration::from_secs(10);
/// The rest after a base was written: a multiple of the work that it was, at least and at most so long.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
const REST_FACTOR: u32 = 20;

/// Entries that can't be synced and are named.
const MOST_WARNINGS: usize = 20;

/// The warning where there are more directories, or watchers, than the system allows.
pub(super) const UNWATCHED: &str = "the system lets watch no more directories: changes in some of them are found only every 10 s (leave \
                         directories out with `ignore`, or raise `fs.inotify.max_user_watches`; where many programs watch \
                         files, `fs.inotify.max_user_instances`)";

/// What every container of the spec has acknowledged. While it is the same, the base that was written is up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Agreement {
    revision: Revision,
    passed_over: u64,
    two_way: Option<String>,
}

/// Writes the base of one spec.
pub(super) struct BaseWriter<'a> {
    name: &'a str,
    board_tx: &'a BoardTx,
    board: watch::Receiver<Board>,
    here: watch::Receiver<LocalState>,
    local: &'a Arc<LocalFolder>,
    file: &'a BaseFile,
    base_tx: &'a watch::Sender<Option<Arc<Base>>>,
    saved: Option<Agreement>,
}

impl<'a> BaseWriter<'a> {
    pub(super) fn new(
        name: &'a str,
        board: &'a BoardTx,
        local: &'a Arc<LocalFolder>,
        file: &'a BaseFile,
        base_tx: &'a watch::Sender<Option<Arc<Base>>>,
    ) -> Self {
        Self {
            name,
            board_tx: board,
            board: board.subscribe(),
            here: local.state(),
            local,
            file,
            base_tx,
            saved: None,
        }
    }

    /// Writes the base whenever all containers hold something new; the first one at once.
    pub(super) async fn follow(&mut self) {
        loop {
            if self.news().is_some() {
                let work = self.write().await;
                drop(tokio::task::spawn_blocking(ksync_tree::give_back));
                // A big tree is not looked at all the time.
                sleep((work * REST_FACTOR).clamp(REST.0, REST.1)).await;
                continue;
            }
            let changed = tokio::select! {
                changed = self.board.changed() => changed,
                changed = self.here.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Writes what is equal at the end; what is on its way still is waited for, for a while.
    pub(super) async fn finish(&mut self) {
        let name = self.name;
        // While something moves nothing is equal: to look then would be to give up at once.
        let moves = |board: &Board| {
            board.specs.get(name).is_some_and(|spec| spec.overall().status == Status::Syncing)
        };
        let last = async {
            // An error is the end of the board, and then there is nothing to keep.
            let _ = self.board.wait_for(|board| !moves(board)).await;
            self.write().await
        };
        if timeout(FINISH, last).await.is_err() {
            warn!(limit = ?FINISH, "what is equal at the end was not noted: something moves still");
        }
    }

    /// The local side, when all containers hold more of it than was written.
    fn news(&mut self) -> Option<LocalState> {
        let here = self.here.borrow_and_update().clone();
        let now = Agreement::of(&self.board.borrow_and_update(), self.name, &here);
        now.filter(|now| self.saved.as_ref() != Some(now)).map(|_| here)
    }

    /// Writes the base if there is news. What was listed before a scan whose sequence every container has acknowledged
    /// was equal everywhere, whatever moves meanwhile. Returns how long listing and scanning took.
    async fn write(&mut self) -> Duration {
        let begun = Instant::now();
        let Some(here) = self.news() else { return Duration::ZERO };
        let Some(Listing { entries, skipped }) = list(self.local).await else { return begun.elapsed() };
        self.warn_of(&skipped, here.unwatched);
        // What is on the disk and was not noticed is not acknowledged by anybody.
        match self.unscanned(&here, &entries) {
            Some(paths) if paths.is_empty() => {}
            Some(paths) => self.local.scan(paths),
            None => self.local.scan(Vec::new()),
        }
        let scanned = self.local.scanned().await;
        let mut work = begun.elapsed();
        let Ok(sequence) = scanned else { return work };
        let (name, scanned) = (self.name, Revision { sequence, ..here.revision() });
        let held =
            |board: &Board| Agreement::of(board, name, &here).is_some_and(|held| held.revision >= scanned);
        let reached = timeout(REACHED, self.board.wait_for(held)).await;
        let Ok(Ok(board)) = reached.map(|board| board.map(|board| board.clone())) else { return work };
        let of_this_process = |held: &Agreement| held.revision.process == scanned.process;
        let Some(agreement) = Agreement::of(&board, name, &here).filter(of_this_process) else { return work };
        let seen =
            board.specs.get(name).map(|spec| spec.services.keys().cloned().collect()).unwrap_or_default();
        let last = self.base_tx.borrow().clone().unwrap_or_default();
        let base = Arc::new(last.next(entries, agreement.two_way.clone(), seen));
        let (file, writing, begun) = (self.file.clone(), Arc::clone(&base), Instant::now());
        match blocking::run(move || file.save(&writing)).await {
            Ok(()) => drop(self.base_tx.send_replace(Some(base))),
            Err(error) => warn!(error = ksync_common::chain(&error), "write the base"),
        }
        work += begun.elapsed();
        // What came between the listing and the scan is news still.
        self.saved = Some(Agreement { revision: here.revision(), ..agreement });
        work
    }
}

impl BaseWriter<'_> {
    /// What was not scanned since it came to be what was listed now. What is just as the last picture of this syncthing
    /// process shows it was scanned after that one was taken. None means that there is no such picture.
    fn unscanned(&self, here: &LocalState, listed: &[Entry]) -> Option<Vec<String>> {
        self.saved.as_ref().filter(|saved| saved.revision.process == here.revision().process)?;
        let last = self.base_tx.borrow();
        let unlike = ksync_tree::differences(&last.as_ref()?.entries, listed);
        Some(unlike.into_iter().map(|difference| difference.path).collect())
    }

    /// Names what is here and can't be synced, and what can't be watched.
    fn warn_of(&self, skipped: &[Skipped], unwatched: bool) {
        let warning = |entry: &Skipped| format!("not synced: {} ({})", entry.path, entry.reason);
        let mut warnings: Vec<String> = skipped.iter().take(MOST_WARNINGS).map(warning).collect();
        if unwatched {
            warnings.push(UNWATCHED.to_owned());
        }
        self.board_tx.modify(|board| {
            if let Some(spec) = board.specs.get_mut(self.name) {
                spec.warnings = warnings;
            }
        });
    }
}

impl Agreement {
    /// What every container of the spec holds; none while one of them is not in sync.
    fn of(board: &Board, name: &str, here: &LocalState) -> Option<Self> {
        let spec = board.specs.get(name)?;
        if spec.overall().status != Status::Watching {
            return None;
        }
        let revision = spec.services.values().map(|service| service.acknowledged).min()?;
        let two_way = spec.services.values().find(|service| service.direction == Direction::Both);
        let two_way = two_way.map(|service| service.container_id.clone());
        Some(Self { revision, passed_over: here.passed_over, two_way })
    }
}

async fn list(local: &Arc<LocalFolder>) -> Option<Listing> {
    let (folder, root) = (Arc::clone(local), local.root());
    let listed = Arc::clone(&root);
    let listing = blocking::run(move || {
        let options = ListOptions { hash: false, ignore: &folder.ignore, exclude: &[] };
        ksync_tree::list(&listed, &options)
    });
    match listing.await {
        Ok(listing) => local.is_at(&root).is_ok().then_some(listing),
        Err(error) => {
            warn!(error = ksync_common::chain(&error), "list the local path for the base");
            None
        }
    }
}
