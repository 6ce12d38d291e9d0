//! Keeping a spec's base: a picture of the local tree, taken when every container holds it.
//!
//! Invariant: a picture is written only when nothing moved while it was taken.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ksync_tree::{ListOptions, Listing, Skipped};
use tokio::sync::watch;
use tracing::warn;

use crate::{
    base::{Base, BaseFile},
    local::{Local, LocalFolder},
    status::{Board, BoardTx, Status},
};

/// How long nothing must move before a picture replaces another: a burst of edits is one.
const QUIET: Duration = Duration::from_secs(2);

/// Entries that can't be synced and are named.
const MOST_WARNINGS: usize = 20;

/// What a base is a picture of: when it is the same again, nothing has to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    process: u64,
    sequence: i64,
    passed_over: u64,
    two_way: Option<String>,
}

/// Writes the base of one spec.
pub(super) struct Keeper<'a> {
    name: &'a str,
    board_tx: &'a BoardTx,
    board: watch::Receiver<Board>,
    here: watch::Receiver<Local>,
    local: &'a Arc<LocalFolder>,
    file: &'a BaseFile,
    base_tx: &'a watch::Sender<Option<Arc<Base>>>,
    saved: Option<Moment>,
}

impl<'a> Keeper<'a> {
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

    /// Writes the base each time that all containers hold what is here; the first one at once.
    pub(super) async fn follow(&mut self) {
        loop {
            let quiet = if self.saved.is_none() { Duration::ZERO } else { QUIET };
            if self.keep(quiet).await {
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

    /// Writes the base if it is news and nothing moves for `quiet`; returns whether it was.
    pub(super) async fn keep(&mut self, quiet: Duration) -> bool {
        let now = settled(&self.board.borrow_and_update(), self.name, &self.here.borrow_and_update());
        let Some(moment) = now.filter(|now| self.saved.as_ref() != Some(now)) else { return false };
        tokio::time::sleep(quiet).await;
        // Everything is scanned once more: what is on the disk and was not noticed is not acknowledged by anybody.
        self.local.look(Vec::new());
        let scanned = self.local.scanned().await;
        let Some(Listing { entries, skipped }) = list(self.local).await else { return false };
        self.warn_of(&skipped);
        let here = self.local.state().borrow().clone();
        let still = here.process == moment.process && here.sequence == moment.sequence && !here.pending;
        if !still || !scanned.is_ok_and(|sequence| sequence == moment.sequence) {
            return false;
        }
        let seen = self.containers();
        let last = self.base_tx.borrow().clone().unwrap_or_default();
        let base = last.next(entries, moment.two_way.clone(), seen);
        let (file, base) = (self.file.clone(), Arc::new(base));
        let writing = Arc::clone(&base);
        let saved = tokio::task::spawn_blocking(move || file.save(&writing)).await;
        match saved.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            Ok(()) => drop(self.base_tx.send_replace(Some(base))),
            Err(error) => warn!(error = crate::printer::chain(&error), "keep the base"),
        }
        self.saved = Some(moment);
        true
    }
}

impl Keeper<'_> {
    /// Names what is here and can't be synced.
    fn warn_of(&self, skipped: &[Skipped]) {
        let warning = |entry: &Skipped| format!("not synced: {} ({})", entry.path, entry.reason);
        let warnings: Vec<String> = skipped.iter().take(MOST_WARNINGS).map(warning).collect();
        self.board_tx.modify(|board| {
            if let Some(spec) = board.specs.get_mut(self.name) {
                spec.warnings = warnings;
            }
        });
    }

    fn containers(&self) -> BTreeSet<String> {
        let board = self.board.borrow();
        board.specs.get(self.name).map(|spec| spec.services.keys().cloned().collect()).unwrap_or_default()
    }
}

/// The moment, when every container of the spec holds what is here.
fn settled(board: &Board, name: &str, here: &Local) -> Option<Moment> {
    let spec = board.specs.get(name)?;
    let good = !spec.services.is_empty() && spec.overall().status == Status::Watching && !here.pending;
    let two_way = spec.services.values().find(|service| service.two_way);
    good.then(|| Moment {
        process: here.process,
        sequence: here.sequence,
        passed_over: here.passed_over,
        two_way: two_way.map(|service| service.container_id.clone()),
    })
}

async fn list(local: &Arc<LocalFolder>) -> Option<Listing> {
    let (folder, root) = (Arc::clone(local), local.root());
    let listed = Arc::clone(&root);
    let listing = tokio::task::spawn_blocking(move || {
        let options = ListOptions { hash: false, ignore: &folder.ignore, exclude: &[] };
        ksync_tree::list(&listed, &options)
    });
    match listing.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
        Ok(listing) => local.is_at(&root).is_ok().then_some(listing),
        Err(error) => {
            warn!(error = crate::printer::chain(&error), "list the local path for the base");
            None
        }
    }
}
