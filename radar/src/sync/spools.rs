//! The spools of all sessions, at this end.
//!
//! Invariant: a session has one at most, in a directory of its own, which goes with the session. What an earlier radar has
//! left is gone before the first one is made.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ksync_spool::{End, Error, Pair};
use tokio::sync::MutexGuard as AsyncMutexGuard;

use crate::supervisor::node_syncthing::NodeSyncthing;

/// A session's spool.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    tag: String,
    /// Its outbox and inbox.
    pub(crate) pair: Arc<Pair>,
}

#[derive(Debug, Default)]
struct All {
    by_session: HashMap<String, Spool>,
    /// How many were made.
    made: u64,
}

/// All spools of this node. Clones are the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Spools {
    dir: PathBuf,
    all: Arc<Mutex<All>>,
}

/// What opening a spool comes to.
pub(crate) struct Opened {
    /// The session's spool.
    pub(crate) spool: Spool,
    /// The one that it had under another tag.
    pub(crate) earlier: Option<Spool>,
}

impl Spools {
    /// Below a directory that syncthing sees under the same name.
    pub(crate) fn below(dir: PathBuf) -> Self {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "remove what an earlier radar has left in its spools");
            }
            _ => {}
        }
        Self { dir, all: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session's.
    pub(crate) fn find(&self, session: &str) -> Option<Arc<Pair>> {
        self.lock().by_session.get(session).map(|spool| Arc::clone(&spool.pair))
    }

    /// Makes one for a session; it may be there already. Both names are plain. Blocks.
    pub(crate) fn open(&self, session: &str, tag: &str) -> Result<Opened, Error> {
        let mut all = self.lock();
        if let Some(spool) = all.by_session.get(session).filter(|spool| spool.tag == tag) {
            return Ok(Opened { spool: spool.clone(), earlier: None });
        }
        all.made += 1;
        // One that is still being removed has another directory.
        let dir = self.dir.join(format!("{session}-{}", all.made));
        let pair = Arc::new(Pair::open(End::There, &dir, session, tag)?);
        let spool = Spool { tag: tag.to_owned(), pair };
        let earlier = all.by_session.insert(session.to_owned(), spool.clone());
        Ok(Opened { spool, earlier })
    }

    /// The session has ended: its spool is nobody's any more.
    pub(crate) fn close(&self, session: &str) -> Option<Spool> {
        self.lock().by_session.remove(session)
    }

    /// Takes a spool that was closed from the node's syncthing, whose devices and folders nobody else changes meanwhile.
    pub(crate) async fn unshare(
        &self,
        session: &str,
        spool: Spool,
        syncthing: &NodeSyncthing,
        _turn: &AsyncMutexGuard<'_, ()>,
    ) {
        // A session that is back has the same folders under the same tag.
        let is_back = self.lock().by_session.get(session).is_some_and(|now| now.tag == spool.tag);
        if !is_back && let Err(error) = spool.pair.unshare(&syncthing.client).await {
            tracing::warn!(error = ksync_common::chain(&error), session, "take a spool from syncthing");
        }
        // Its directory goes with it.
        tokio::task::spawn_blocking(move || drop(spool));
    }
}

#[cfg(test)]
mod tests {
    use super::{Opened, Spools};

    #[tokio::test]
    async fn a_session_has_one_spool_of_its_own_which_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("spool");
        std::fs::create_dir_all(at.join("left/in")).unwrap();
        let spools = Spools::below(at.clone());
        let names = || {
            let Ok(entries) = std::fs::read_dir(&at) else { return Vec::new() };
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert!(names().is_empty(), "what was left is gone");
        let Opened { spool, earlier } = spools.open("s", "1").unwrap();
        assert!(earlier.is_none() && spools.find("t").is_none());
        assert!(std::sync::Arc::ptr_eq(&spools.open("s", "1").unwrap().spool.pair, &spool.pair));
        let again = spools.open("s", "2").unwrap();
        assert!(again.earlier.is_some_and(|earlier| std::sync::Arc::ptr_eq(&earlier.pair, &spool.pair)));
        drop(spool);
        assert_eq!(names(), ["s-2"]);
        drop((again.spool, spools.close("s")));
        assert!(names().is_empty() && spools.find("s").is_none());
    }
}
