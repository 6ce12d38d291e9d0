//! The directory under a local folder: that it is still the one that was opened, and that nobody else on this machine
//! syncs it.
//!
//! Invariant: another directory at the same path is taken for the old one's successor only when the old one was removed
//! for good, on the same file system. A disk that was unmounted and a directory that was moved away exist still, and
//! what lies at their path now says nothing of their files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use ksync_tree::{Identity, Root};
use tracing::{info, warn};

use crate::{
    guards::{self, Guard},
    lock::{self, DirLock},
};

/// Why a directory can't be synced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It can't be opened.
    #[error("open the local path")]
    Open(#[source] ksync_tree::Error),
    /// Another watcher has it, or one above or below it.
    #[error(
        "`{path}`, or a directory above or below it, is synced by another watcher on this machine (of another context or \
         `KSYNC_HOME`): delete the spec there first"
    )]
    Held {
        /// The local path.
        path: PathBuf,
    },
    /// It can't be locked.
    #[error(transparent)]
    Lock(#[from] lock::Error),
}

/// A local path and the directory that was found there.
#[derive(Debug)]
pub(super) struct LocalRoot {
    path: PathBuf,
    now: RwLock<Held>,
}

#[derive(Debug)]
struct Held {
    root: Arc<Root>,
    _lock: DirLock,
}

impl LocalRoot {
    /// Opens the directory at `path`, for this watcher alone.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), now: RwLock::new(Held::open(path)?) })
    }

    /// The directory, open.
    pub(super) fn root(&self) -> Arc<Root> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).root)
    }

    /// Whether the path is the directory that is open; a sentence when it is not.
    pub(super) fn check(&self) -> Result<(), String> {
        if !guards::on(Guard::LocalRoot) {
            return Ok(());
        }
        let shown = self.path.display();
        let Some(found) = found(&self.path) else {
            let gone = std::fs::symlink_metadata(&self.path).is_err();
            return Err(format!(
                "the local path `{shown}` is {}",
                if gone { "gone" } else { "no directory any more" }
            ));
        };
        if found == self.root().identity() {
            return Ok(());
        }
        Err(format!(
            "`{shown}` is not the directory that it was: put it back, or run `kubectl ksync stop` and \
             `kubectl ksync watch --daemon` to sync the new one"
        ))
    }

    /// Removes what writes that were cut off have left: nobody goes on with it.
    pub(super) fn sweep(&self) {
        match ksync_tree::sweep_unfinished(&self.root(), &[], Duration::ZERO) {
            Ok(0) => {}
            Ok(files) => info!(files, path = %self.path.display(), "removed unfinished files"),
            Err(error) => {
                warn!(error = ksync_common::chain(&error), path = %self.path.display(), "remove unfinished files");
            }
        }
    }

    /// Takes the directory that is at the path now, when the old one was removed; returns whether it did.
    pub(super) fn adopt_successor(&self) -> Result<bool, Error> {
        let old = self.root();
        let Some(now) = found(&self.path) else { return Ok(false) };
        if now == old.identity() || now.dev != old.identity().dev || !is_removed(&old) {
            return Ok(false);
        }
        let held = Held::open(&self.path)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(true)
    }
}

impl Held {
    fn open(path: &Path) -> Result<Self, Error> {
        let root = Root::open(path).map_err(Error::Open)?;
        let lock = DirLock::try_acquire(path)?.ok_or_else(|| Error::Held { path: path.to_owned() })?;
        Ok(Self { root: Arc::new(root), _lock: lock })
    }
}

fn found(path: &Path) -> Option<Identity> {
    Root::open(path).ok().map(|root| root.identity())
}

/// Whether an open directory has no name any more, on any path.
fn is_removed(root: &Root) -> bool {
    use std::os::{fd::AsFd, unix::fs::MetadataExt};
    let stat = |root: &Root| -> io::Result<fs::Metadata> {
        fs::File::from(root.as_fd().try_clone_to_owned()?).metadata()
    };
    stat(root).is_ok_and(|meta| meta.nlink() == 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Error, LocalRoot};

    #[test]
    fn a_successor_counts_only_when_the_old_one_was_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dist");
        fs::create_dir(&path).unwrap();
        let root_dir = LocalRoot::open(&path).unwrap();
        let first = root_dir.root();
        assert!(root_dir.check().is_ok() && !root_dir.adopt_successor().unwrap());
        fs::remove_dir(&path).unwrap();
        assert!(root_dir.check().unwrap_err().ends_with("is gone"));
        assert!(!root_dir.adopt_successor().unwrap(), "nothing has followed yet");
        fs::create_dir(&path).unwrap();
        assert!(root_dir.check().unwrap_err().contains("is not the directory that it was"));
        assert!(root_dir.adopt_successor().unwrap());
        assert!(root_dir.check().is_ok() && first.identity() != root_dir.root().identity());
        // Moved away, it exists still.
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(!root_dir.adopt_successor().unwrap() && root_dir.check().is_err());
    }

    #[test]
    fn one_watcher_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::create_dir(dir.path().join("c")).unwrap();
        let root_dir = LocalRoot::open(&dir.path().join("a")).unwrap();
        for taken in [dir.path().join("a"), below.clone(), dir.path().to_owned()] {
            assert!(matches!(LocalRoot::open(&taken), Err(Error::Held { .. })), "{taken:?}");
        }
        let _beside = LocalRoot::open(&dir.path().join("c")).unwrap();
        drop(root_dir);
        let _free = LocalRoot::open(&below).unwrap();
    }
}
