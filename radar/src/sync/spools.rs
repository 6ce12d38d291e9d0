//! What the large files of each session go through at this end: a syncthing, and a spool.
//!
//! Invariant: a session has one syncthing and one spool at most, in a directory that no other session's syncthing sees; all of
//! it goes with the session. What an earlier radar has left is gone before the first one is made.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ksync_keys::{Fingerprint, Identity};
use ksync_spool::{End, Pair};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::supervisor::session_syncthing::{Keeper, SyncthingRx};

/// Syncthings of a node. The memory of its container is made for them.
pub(crate) const SYNCTHINGS: usize = 20;

/// Why a session has none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such session.
    #[error("no session of key `{person}` is open")]
    NoSession {
        /// Whose.
        person: Fingerprint,
    },
    /// All places are taken by sessions that have something attached.
    #[error("{SYNCTHINGS} sessions of this node have a syncthing already, and no more have a place")]
    TooMany,
    /// No directory could be made.
    #[error("create `{path}`")]
    Create {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// There is no identity for it.
    #[error(transparent)]
    Keys(#[from] ksync_keys::Error),
    /// No spool could be made.
    #[error(transparent)]
    Spool(#[from] ksync_spool::Error),
}

/// A session's spool.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    tag: String,
    /// Its outbox and inbox.
    pub(crate) pair: Arc<Pair>,
}

/// What opening a spool comes to.
pub(crate) struct Opened {
    /// The session's spool.
    pub(crate) spool: Spool,
    /// The one that it had under another tag.
    pub(crate) earlier: Option<Spool>,
}

/// A session's directory, which goes with the last who has it. It is removed then, so not where that may not block.
#[derive(Debug)]
struct Dir(PathBuf);

impl Dir {
    /// The directory of all its spools.
    fn spools(&self) -> PathBuf {
        self.0.join("spool")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %dir.display(), "remove what a session has left");
        }
        _ => {}
    }
}

/// A syncthing that is kept until this is dropped.
#[derive(Debug)]
struct Kept {
    syncthing_rx: SyncthingRx,
    _end: DropGuard,
}

#[derive(Debug)]
struct Session {
    /// Rises with every session.
    number: u64,
    identity: Option<Arc<Identity>>,
    spool: Option<Spool>,
    syncthing: Option<Kept>,
    dir: Option<Arc<Dir>>,
}

#[derive(Debug, Default)]
struct All {
    by_person: HashMap<Fingerprint, Session>,
    /// How many sessions and spools there have been.
    made: u64,
}

impl All {
    fn session(&mut self, person: Fingerprint) -> Result<&mut Session, Error> {
        self.by_person.get_mut(&person).ok_or(Error::NoSession { person })
    }

    fn next(&mut self) -> u64 {
        self.made += 1;
        self.made
    }
}

/// Those of this node. Clones are the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Spools {
    dir: PathBuf,
    lifeline: PathBuf,
    all: Arc<Mutex<All>>,
}

impl Spools {
    /// Below a directory that `radar syncthing`, which is reached by `lifeline`, sees under the same name.
    pub(crate) fn below(dir: PathBuf, lifeline: PathBuf) -> Self {
        remove(&dir);
        Self { dir, lifeline, all: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins.
    pub(crate) fn begin(&self, person: Fingerprint) {
        let mut all = self.lock();
        let number = all.next();
        let session = Session { number, identity: None, spool: None, syncthing: None, dir: None };
        all.by_person.insert(person, session);
    }

    /// The device id of a session's syncthing, whether it runs or not.
    pub(crate) fn device(&self, person: Fingerprint) -> Result<String, Error> {
        Ok(self.lock().session(person)?.identity()?.fingerprint().device_id())
    }

    /// The session has ended, and with it all that it had.
    pub(crate) fn close(&self, person: Fingerprint) {
        let session = self.lock().by_person.remove(&person);
        let Some(Session { spool, syncthing, dir, .. }) = session else { return };
        drop(syncthing);
        if spool.is_some() || dir.is_some() {
            tokio::task::spawn_blocking(move || drop((spool, dir)));
        }
    }

    /// A session's syncthing, started where there is none. Where all places are taken, the oldest of those goes who have nothing
    /// attached, which are all but `holding`.
    pub(crate) fn syncthing(
        &self,
        person: Fingerprint,
        holding: &HashSet<Fingerprint>,
    ) -> Result<SyncthingRx, Error> {
        let mut all = self.lock();
        if let Some(kept) = &all.session(person)?.syncthing {
            return Ok(kept.syncthing_rx.clone());
        }
        let running = all.by_person.iter().filter(|(_, session)| session.syncthing.is_some());
        if running.clone().count() >= SYNCTHINGS {
            let idle = running.filter(|(other, _)| !holding.contains(*other));
            let idle = idle.min_by_key(|(_, session)| session.number).map(|(other, _)| *other);
            let idle = idle.ok_or(Error::TooMany)?;
            tracing::warn!(person = %idle, "too many syncthings: one of a session that holds nothing ends");
            all.session(idle)?.syncthing = None;
        }
        let number = all.next();
        let session = all.session(person)?;
        let identity = session.identity()?;
        let dir = session.dir(&self.dir, person, number)?;
        let (syncthing_tx, syncthing_rx) = watch::channel(None);
        let end = CancellationToken::new();
        session.syncthing = Some(Kept { syncthing_rx: syncthing_rx.clone(), _end: end.clone().drop_guard() });
        // Its own, which no syncthing of the session had before.
        let homes = dir.0.join(number.to_string());
        create(&homes)?;
        let keeper =
            Keeper { lifeline: self.lifeline.clone(), dir: homes, spools: dir.spools(), identity, person };
        tokio::spawn(async move {
            keeper.run(syncthing_tx, end).await;
            tokio::task::spawn_blocking(move || drop(dir));
        });
        Ok(syncthing_rx)
    }

    /// A session's syncthing, if it was started.
    pub(crate) fn running(&self, person: Fingerprint) -> Option<SyncthingRx> {
        let all = self.lock();
        all.by_person.get(&person)?.syncthing.as_ref().map(|kept| kept.syncthing_rx.clone())
    }

    /// Makes this the syncthing of a session.
    #[cfg(test)]
    pub(crate) fn with_syncthing(&self, person: Fingerprint, syncthing_rx: SyncthingRx) {
        let end = CancellationToken::new().drop_guard();
        self.lock().session(person).unwrap().syncthing = Some(Kept { syncthing_rx, _end: end });
    }

    /// A session's spool, if it has one.
    pub(crate) fn find(&self, person: Fingerprint) -> Option<Arc<Pair>> {
        self.lock().by_person.get(&person)?.spool.as_ref().map(|spool| Arc::clone(&spool.pair))
    }

    /// Makes one for a session; it may be there already. The tag is a plain name. Blocks.
    pub(crate) fn open(&self, person: Fingerprint, tag: &str) -> Result<Opened, Error> {
        let mut all = self.lock();
        let number = all.next();
        let session = all.session(person)?;
        if let Some(spool) = session.spool.as_ref().filter(|spool| spool.tag == tag) {
            return Ok(Opened { spool: spool.clone(), earlier: None });
        }
        // One that is still being removed has another directory.
        let dir = session.dir(&self.dir, person, number)?.spools().join(number.to_string());
        let pair = Arc::new(Pair::open(End::There, &dir, &person.device_id(), tag)?);
        let spool = Spool { tag: tag.to_owned(), pair };
        let earlier = session.spool.replace(spool.clone());
        Ok(Opened { spool, earlier })
    }
}

impl Session {
    fn identity(&mut self) -> Result<Arc<Identity>, Error> {
        let identity = match self.identity.take() {
            Some(identity) => identity,
            None => Arc::new(Identity::for_syncthing()?),
        };
        Ok(Arc::clone(self.identity.insert(identity)))
    }

    fn dir(&mut self, below: &Path, person: Fingerprint, number: u64) -> Result<Arc<Dir>, Error> {
        if let Some(dir) = &self.dir {
            return Ok(Arc::clone(dir));
        }
        // Short: a socket's path has 107 bytes.
        let dir = Arc::new(Dir(below.join(format!("{person}-{number}"))));
        create(&dir.spools())?;
        self.dir = Some(Arc::clone(&dir));
        Ok(dir)
    }
}

fn create(dir: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| Error::Create { path: dir.to_owned(), source })
}

#[cfg(test)]
mod tests;
