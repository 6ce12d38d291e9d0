//! What the actor of a local folder is told, and the state that it shows.
//!
//! Invariant: the actor alone changes the state, and everybody else reads.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use crate::{
    local::{
        approval::{ContainerRef, PendingDeletions},
        ignore,
    },
    revision::Revision,
};

/// Where the local side of a folder stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalState {
    /// Number of the syncthing process that has the folder; 0 while none has it.
    pub process: u64,
    /// Changes were noticed that no scan has covered yet.
    pub pending: bool,
    /// Highest sequence of our own index after the last scan.
    pub sequence: i64,
    /// Why nothing is scanned.
    pub error: Option<String>,
    /// Deletions of containers that wait for a person.
    pub pending_deletions: PendingDeletions,
    /// Counts changes of names that syncthing passes over.
    pub passed_over: u64,
    /// The system watches only some of the directories.
    pub unwatched: bool,
    /// When the changes up to the sequence came so far; none when nobody noticed them.
    pub stages: Option<LocalStages>,
}

impl LocalState {
    /// How far its index has come.
    pub fn revision(&self) -> Revision {
        Revision { process: self.process, sequence: self.sequence }
    }
}

/// When a change got through the stages of its way that are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalStages {
    /// The system told of it: a file's writer has closed it.
    pub noticed: Instant,
    /// The scan was asked for.
    pub posted: Instant,
    /// The scan was over.
    pub scanned: Instant,
}

pub(in crate::local) enum Command {
    Share { device: String, address: watch::Receiver<SocketAddr>, done: oneshot::Sender<()> },
    Dial { device: String },
    Unshare { device: String },
    Deleted { path: String, by: Arc<ContainerRef> },
    Restored { path: String },
    Detached,
    Running { spec: String, containers: BTreeSet<String> },
    Answer { accept: bool, done: oneshot::Sender<Result<usize, Closed>> },
    Scan { paths: Vec<String> },
    Barrier { done: oneshot::Sender<()> },
    Exclude { paths: Vec<String>, done: oneshot::Sender<Result<(), ignore::Error>> },
}

/// The local folder stands still or was closed; why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Closed(String);

impl Closed {
    pub(in crate::local) fn new(why: &str) -> Self {
        Self(why.to_owned())
    }

    pub(in crate::local) fn folder() -> Self {
        Self::new("the local folder was closed")
    }
}
