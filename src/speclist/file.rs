//! Noticing that `ksync.yaml` changed, however it is written: in place, by rename, through a symlink.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::AccessKind};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::warn;

/// The safety net where watching does not work.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Several events of one write are one change.
const QUIET: Duration = Duration::from_millis(10);

/// Changes of one file.
pub(super) struct Changes {
    /// None where the system can't watch; then the file is looked at from time to time.
    watcher: Option<RecommendedWatcher>,
    rx: mpsc::UnboundedReceiver<()>,
}

impl Changes {
    /// Watches the directories that hold the file and what it links to.
    pub(super) fn of(path: &Path) -> Self {
        let (tx, rx) = mpsc::unbounded_channel();
        let watcher = watch(path, tx)
            .inspect_err(|error| warn!(%error, "watch ksync.yaml; looking at it every {LOOK_AGAIN:?}"))
            .ok();
        Self { watcher, rx }
    }

    /// Waits until the file may have changed.
    pub(super) async fn next(&mut self) {
        if self.watcher.is_none() {
            return sleep(LOOK_AGAIN).await;
        }
        if let Ok(Some(())) = timeout(LOOK_AGAIN, self.rx.recv()).await {
            while let Ok(Some(())) = timeout(QUIET, self.rx.recv()).await {}
        }
    }
}

fn watch(path: &Path, tx: mpsc::UnboundedSender<()>) -> notify::Result<RecommendedWatcher> {
    let files: BTreeSet<PathBuf> =
        [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten().collect();
    let dirs: BTreeSet<PathBuf> = files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let relevant = match event {
            Ok(Event { kind: EventKind::Access(AccessKind::Open(_) | AccessKind::Read), .. }) => false,
            Ok(event) => event.paths.iter().any(|path| files.contains(path)) || event.need_rescan(),
            Err(_) => true,
        };
        if relevant {
            // Nobody listens any more: the watcher is stopping.
            let _ = tx.send(());
        }
    })?;
    for dir in dirs {
        watcher.watch(&dir, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}
