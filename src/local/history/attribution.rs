//! Whose a change is that a scan found here: a person's, or a container's whose files ksync itself wrote here.
//!
//! syncthing tells by itself what it pulled from what it found (`LocalChangeDetected` is the latter alone). What is left
//! are the writes that ksync makes for containers: files that an attach brings, deletions that are applied, conflicts that
//! are turned round. Each is noted here before a scan can find it, with what it looks like afterwards; a change that looks
//! different is somebody's edit. So is anything of which it can't be told: a reload too many is better than one too few.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ksync_tree::{Entry, Root, stat_entry};
use tokio::sync::broadcast;

/// A change that a person, or a program of theirs, made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LocalEdit {
    /// Of a file or a symlink.
    Path(String),
    /// Of a path that is not known: events were lost.
    Something,
}

/// All changes that were made here, as scans find them.
#[derive(Debug)]
pub(crate) struct LocalEdits {
    tx: broadcast::Sender<LocalEdit>,
    count: AtomicU64,
}

/// Changes that are kept for a slow listener.
const KEPT: usize = 4096;

impl Default for LocalEdits {
    fn default() -> Self {
        Self { tx: broadcast::Sender::new(KEPT), count: AtomicU64::new(0) }
    }
}

impl LocalEdits {
    /// Follows the edits from now on. A listener that is too slow loses the oldest.
    pub(crate) fn follow(&self) -> broadcast::Receiver<LocalEdit> {
        self.tx.subscribe()
    }

    /// How many edits there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Tells all who follow, and counts.
    pub(in crate::local) fn record(&self, edit: LocalEdit) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // Nobody may be listening.
        let _ = self.tx.send(edit);
    }
}

/// What a scan is expected to find at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    /// Anything: ksync is writing there.
    Anything,
    /// This, or nothing.
    Exactly(Option<Entry>),
}

/// Files that ksync itself wrote or removed here for containers, and that no scan is known to have found yet.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites(Mutex<HashMap<String, Expected>>);

impl OwnWrites {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// ksync is about to write `paths`. [`OwnWrites::done`] follows.
    pub(crate) fn begin(&self, paths: &[String]) {
        self.lock().extend(paths.iter().map(|path| (path.clone(), Expected::Anything)));
    }

    /// ksync has written or removed `paths` below `root`: as they are now, they are a container's.
    pub(crate) fn done(&self, root: &Root, paths: &[String]) {
        for path in paths {
            let now = stat_entry(root, path, false);
            let mut all = self.lock();
            match now {
                Ok(now) => drop(all.insert(path.clone(), Expected::Exactly(now))),
                Err(_) => drop(all.remove(path)),
            }
        }
    }

    /// Whether ksync made the change that a scan found at `path`: the path is `now` as ksync left it. To be asked once for
    /// each change.
    pub(in crate::local) fn explains(&self, path: &str, now: Option<&Entry>) -> bool {
        let mut all = self.lock();
        match all.get(path) {
            None => false,
            Some(Expected::Anything) => true,
            Some(Expected::Exactly(expected)) => {
                let same = expected.as_ref() == now;
                all.remove(path);
                same
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ksync_tree::{Root, stat_entry};

    use super::OwnWrites;

    #[test]
    fn what_was_brought_is_theirs_and_an_edit_of_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let write = |text: &str| fs::write(dir.path().join("f"), text).unwrap();
        let now = || stat_entry(&root, "f", false).unwrap();
        let (own_writes, paths) = (OwnWrites::default(), ["f".to_owned()]);
        assert!(!own_writes.explains("f", None), "nothing was brought");
        own_writes.begin(&paths);
        assert!(
            own_writes.explains("f", None) && own_writes.explains("f", None),
            "while it comes, anything is"
        );
        write("brought");
        own_writes.done(&root, &paths);
        assert!(own_writes.explains("f", now().as_ref()));
        assert!(!own_writes.explains("f", now().as_ref()), "once");
        own_writes.done(&root, &paths);
        write("edited then");
        assert!(!own_writes.explains("f", now().as_ref()));
        fs::remove_file(dir.path().join("f")).unwrap();
        own_writes.done(&root, &paths);
        assert!(own_writes.explains("f", now().as_ref()), "removed for them");
        own_writes.done(&root, &paths);
        write("made again");
        assert!(!own_writes.explains("f", now().as_ref()));
    }
}
