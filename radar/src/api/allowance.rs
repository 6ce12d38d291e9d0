//! What one person may have at once on a node, however many connections it comes over.
//!
//! Invariant: whoever has too much is told of what, and how much is allowed; nobody else has less for it. What is in use
//! counts until it is over, whether or not the call and the connection that it came by are still there. A watcher that does
//! its work never comes near: what it has much of (questions, files to read) waits for its turn instead.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use ksync_keys::Fingerprint;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Longest wait for a turn. A watcher gives up on a call before that.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many may come to the socket of one proof at once; each takes a thread.
pub(crate) const PEERS: usize = 8;

/// Threads for what blocks (tokio's `max_blocking_threads`), of which one person has less than half.
pub(crate) const THREADS: usize = 768;
const _: () = assert!(threads() < THREADS / 2, "one person takes half of all threads that block");

/// Threads that one person can take.
const fn threads() -> usize {
    let (mut number, mut all) = (0, 0);
    while number < KINDS.len() {
        all += KINDS[number].most() * KINDS[number].threads();
        number += 1;
    }
    all
}

/// What there is a limit to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A connection through the door. A watcher has one.
    Connection,
    /// A stream of a session, or one that is to open it. A watcher has one.
    Session,
    /// A proof of an exec, with what is planted for it.
    Proof,
    /// A question about a container, or something that is done to it, which may take a thread.
    Question,
    /// A change of what the session's syncthing knows.
    Configuration,
    /// A stream of syncs. A watcher has one.
    Sync,
    /// A large file on its way here: twice as many as one connection has streams, so that it never comes to that.
    Stage,
    /// A large file on its way from here, which takes a thread.
    Read,
    /// A thread that writes of a large file that comes here.
    Write,
    /// A reload, which takes threads for as long as the app is given to end.
    Reload,
    /// A connection of syncthing's. A watcher has one.
    Bep,
    /// A connection too many, which is told so.
    Told,
}

const KINDS: [Kind; 12] = [
    Kind::Connection,
    Kind::Session,
    Kind::Proof,
    Kind::Question,
    Kind::Configuration,
    Kind::Sync,
    Kind::Stage,
    Kind::Read,
    Kind::Write,
    Kind::Reload,
    Kind::Bep,
    Kind::Told,
];

impl Kind {
    /// How many of them one person may have at once.
    pub(crate) const fn most(self) -> usize {
        match self {
            // Those of tunnels that broke without a word count for as long as a keepalive takes to notice.
            Self::Connection | Self::Told | Self::Session | Self::Bep | Self::Proof => 16,
            // Each remembers 16 MiB of contents.
            Self::Sync => 8,
            Self::Configuration => 1,
            Self::Question | Self::Read => 32,
            Self::Write => 64,
            Self::Reload => 128,
            Self::Stage => 400,
        }
    }

    /// Threads that block which one of them takes at most. The file system of a container is the business of threads of its own.
    const fn threads(self) -> usize {
        match self {
            Self::Connection
            | Self::Told
            | Self::Session
            | Self::Bep
            | Self::Sync
            | Self::Stage
            | Self::Write => 0,
            Self::Question | Self::Read | Self::Reload => 1,
            // That of the spool, and of the one before it.
            Self::Configuration => 2,
            Self::Proof => PEERS,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Connection | Self::Told => "connections",
            Self::Session => "streams of sessions",
            Self::Proof => "proofs of an exec",
            Self::Question => "questions about containers",
            Self::Configuration => "changes of a spool",
            Self::Sync => "streams of syncs",
            Self::Stage => "large files on their way to containers",
            Self::Read => "large files on their way from containers",
            Self::Write => "large files that are written",
            Self::Reload => "reloads",
            Self::Bep => "connections of syncthing",
        }
    }
}

/// Too much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {} {} of one key at once", .0.most(), .0.name())]
pub(crate) struct Exceeded(Kind);

impl From<Exceeded> for Status {
    fn from(exceeded: Exceeded) -> Self {
        Self::resource_exhausted(exceeded.to_string())
    }
}

/// One of what is allowed, in use until the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Share(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// It would be a new one for who comes back otherwise.
    of: Arc<Allowance>,
    _permit: OwnedSemaphorePermit,
}

impl Share {
    /// One more of the same person's when it is its turn, however long that takes.
    pub(crate) async fn turn(&self, kind: Kind) -> Result<Self, Exceeded> {
        let permit = self.0.of.of(kind).acquire_owned().await.map_err(|_| Exceeded(kind))?;
        Ok(self.0.of.share(permit))
    }
}

/// What a person has left.
#[derive(Debug)]
pub(crate) struct Allowance([Arc<Semaphore>; KINDS.len()]);

impl Allowance {
    fn new() -> Self {
        Self(KINDS.map(|kind| Arc::new(Semaphore::new(kind.most()))))
    }

    fn of(&self, kind: Kind) -> Arc<Semaphore> {
        Arc::clone(&self.0[kind as usize])
    }

    /// One more at once, or not at all.
    pub(crate) fn take(self: &Arc<Self>, kind: Kind) -> Result<Share, Exceeded> {
        let permit = self.of(kind).try_acquire_owned().map_err(|_| Exceeded(kind))?;
        Ok(self.share(permit))
    }

    /// One more when it is its turn.
    pub(crate) async fn turn(self: &Arc<Self>, kind: Kind) -> Result<Share, Exceeded> {
        let turn = tokio::time::timeout(PATIENCE, self.of(kind).acquire_owned()).await;
        let permit = turn.ok().and_then(Result::ok).ok_or(Exceeded(kind))?;
        Ok(self.share(permit))
    }

    fn share(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Share {
        Share(Arc::new(Held { of: Arc::clone(self), _permit: permit }))
    }
}

/// What everybody has left. Who has nothing in use has no entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowances(Arc<Mutex<HashMap<Fingerprint, Weak<Allowance>>>>);

impl Allowances {
    /// That of a person, for as long as it is in use.
    pub(crate) fn of(&self, person: Fingerprint) -> Arc<Allowance> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&person).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, allowance| allowance.strong_count() > 0);
        let fresh = Arc::new(Allowance::new());
        all.insert(person, Arc::downgrade(&fresh));
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_place() {
        for (place, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_persons_much_is_named_and_is_nobody_elses_less() {
        let allowances = Allowances::default();
        let (mine, theirs) = (allowances.of(Fingerprint::of(b"s")), allowances.of(Fingerprint::of(b"t")));
        let mut held: Vec<Share> = (0..Kind::Sync.most()).map(|_| mine.take(Kind::Sync).unwrap()).collect();
        let again = allowances.of(Fingerprint::of(b"s"));
        let refused = Status::from(again.take(Kind::Sync).unwrap_err());
        assert_eq!(
            (refused.code(), refused.message()),
            (tonic::Code::ResourceExhausted, "more than 8 streams of syncs of one key at once")
        );
        assert!(again.turn(Kind::Sync).await.is_err(), "not within a minute");
        assert!(theirs.take(Kind::Sync).is_ok() && mine.take(Kind::Bep).is_ok());
        held.pop();
        assert!(again.turn(Kind::Sync).await.is_ok());
    }

    /// The attack: to take all that is allowed, leave, and come back.
    #[test]
    fn who_comes_back_has_no_more_than_before() {
        let allowances = Allowances::default();
        let person = Fingerprint::of(b"s");
        let mine = allowances.of(person);
        let reloads: Vec<Share> =
            (0..Kind::Reload.most()).map(|_| mine.take(Kind::Reload).unwrap()).collect();
        drop(mine);
        assert_eq!(allowances.of(person).take(Kind::Reload).unwrap_err(), Exceeded(Kind::Reload));
        drop(reloads);
        assert!(allowances.of(person).take(Kind::Reload).is_ok());
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let allowances = Allowances::default();
        let one = allowances.of(Fingerprint::of(b"s"));
        drop(one);
        let _other = allowances.of(Fingerprint::of(b"t"));
        assert_eq!(allowances.0.lock().unwrap().len(), 1);
    }
}
