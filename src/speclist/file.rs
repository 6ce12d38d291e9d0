//! Noticing that `ksync.yaml` changed, however it is written: in place, by rename, through a symlink; and telling a file
//! that is being written from one that was.

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

use crate::config::{Error, Loaded, Store};

/// The safety net where watching does not work.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Several events of one write are one change.
const QUIET: Duration = Duration::from_millis(10);

/// What is missing must still be missing after this time: an editor empties a file before it writes it.
const SETTLE: Duration = Duration::from_millis(250);

/// Reads the file. One that makes `lost` true is believed only when it reads the same twice.
pub(super) async fn believed(store: &Store, lost: impl Fn(&Loaded) -> bool) -> Result<Loaded, Error> {
    let mut loaded = store.load()?;
    while lost(&loaded) {
        sleep(SETTLE).await;
        let again = store.load()?;
        if again == loaded {
            break;
        }
        loaded = again;
    }
    Ok(loaded)
}

/// Changes of one file.
pub(super) struct Changes {
    /// None where the system can't watch; then the file is looked at from time to time.
    watcher: Option<RecommendedWatcher>,
    /// One mark is enough, however much has changed.
    rx: mpsc::Receiver<()>,
}

impl Changes {
    /// Watches the directories that hold the file and what it links to.
    pub(super) fn of(path: &Path) -> Self {
        let (tx, rx) = mpsc::channel(1);
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

fn watch(path: &Path, tx: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
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
            // A mark is there already, or nobody listens any more: the watcher is stopping.
            let _ = tx.try_send(());
        }
    })?;
    for dir in dirs {
        watcher.watch(&dir, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::{SETTLE, Store, believed};

    const ONE: &str = "spec:\n- name: a\n  pod: p\n  localpath: /l\n  remotepath: /r\n";

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_empty_for_a_moment_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("ksync.yaml"));
        let count = async || {
            let began = tokio::time::Instant::now();
            let loaded = believed(&store, |loaded| loaded.config.spec.is_empty()).await.unwrap();
            (loaded.config.spec.len(), began.elapsed())
        };
        fs::write(store.path(), ONE).unwrap();
        assert_eq!(count().await, (1, Duration::ZERO));
        for text in [Some(""), None] {
            match text {
                Some(text) => fs::write(store.path(), text).unwrap(),
                None => fs::remove_file(store.path()).unwrap(),
            }
            let write = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                fs::write(store.path(), ONE).unwrap();
            };
            assert_eq!(tokio::join!(count(), write).0, (1, SETTLE));
        }
        fs::write(store.path(), "").unwrap();
        assert_eq!(count().await, (0, SETTLE), "it stays empty: then it is meant");
    }
}
