//! The spools of all people, at this end.
//!
//! Invariant: a person has one at most, in a directory of its own, which goes with the session. What an earlier radar has
//! left is gone before the first one is made.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ksync_keys::Fingerprint;
use ksync_spool::{End, Error, Pair};
use tokio::sync::MutexGuard as AsyncMutexGuard;

use crate::supervisor::node_syncthing::NodeSyncthing;

/// A person's spool.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    tag: String,
    /// Its outbox and inbox.
    pub(crate) pair: Arc<Pair>,
}

#[derive(Debug, Default)]
struct All {
    by_person: HashMap<Fingerprint, Spool>,
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
    /// The person's spool.
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

    /// A person's.
    pub(crate) fn find(&self, person: Fingerprint) -> Option<Arc<Pair>> {
        self.lock().by_person.get(&person).map(|spool| Arc::clone(&spool.pair))
    }

    /// Makes one for a person; it may be there already. The tag is a plain name. Blocks.
    pub(crate) fn open(&self, person: Fingerprint, tag: &str) -> Result<Opened, Error> {
        let mut all = self.lock();
        if let Some(spool) = all.by_person.get(&person).filter(|spool| spool.tag == tag) {
            return Ok(Opened { spool: spool.clone(), earlier: None });
        }
        all.made += 1;
        // One that is still being removed has another directory.
        let device = person.device_id();
        let dir = self.dir.join(format!("{device}-{}", all.made));
        let pair = Arc::new(Pair::open(End::There, &dir, &device, tag)?);
        let spool = Spool { tag: tag.to_owned(), pair };
        let earlier = all.by_person.insert(person, spool.clone());
        Ok(Opened { spool, earlier })
    }

    /// The session has ended: its spool is nobody's any more.
    pub(crate) fn close(&self, person: Fingerprint) -> Option<Spool> {
        self.lock().by_person.remove(&person)
    }

    /// Takes a spool that was closed from the node's syncthing, whose devices and folders nobody else changes meanwhile.
    pub(crate) async fn unshare(
        &self,
        person: Fingerprint,
        spool: Spool,
        syncthing: &NodeSyncthing,
        _turn: &AsyncMutexGuard<'_, ()>,
    ) {
        // A session that is back has the same folders under the same tag.
        let is_back = self.lock().by_person.get(&person).is_some_and(|now| now.tag == spool.tag);
        if !is_back && let Err(error) = spool.pair.unshare(&syncthing.client).await {
            tracing::warn!(error = ksync_common::chain(&error), %person, "take a spool from syncthing");
        }
        // Its directory goes with it.
        tokio::task::spawn_blocking(move || drop(spool));
    }
}

#[cfg(test)]
mod tests {
    use ksync_keys::Fingerprint;

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
        let (me, other) = (Fingerprint::of(b"s"), Fingerprint::of(b"t"));
        let Opened { spool, earlier } = spools.open(me, "1").unwrap();
        assert!(earlier.is_none() && spools.find(other).is_none());
        assert!(std::sync::Arc::ptr_eq(&spools.open(me, "1").unwrap().spool.pair, &spool.pair));
        let again = spools.open(me, "2").unwrap();
        assert!(again.earlier.is_some_and(|earlier| std::sync::Arc::ptr_eq(&earlier.pair, &spool.pair)));
        drop(spool);
        assert_eq!(names(), [format!("{}-2", me.device_id())]);
        drop((again.spool, spools.close(me)));
        assert!(names().is_empty() && spools.find(me).is_none());
    }
}
