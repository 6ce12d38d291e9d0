//! The commands that the actor of a local folder takes, and the state that it shows.
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

/// The state of the local side of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LocalState {
    /// Whether the local syncthing scans the folder.
    pub uptake: Uptake,
    /// Changes were noticed that no scan has covered yet.
    pub pending: bool,
    /// Highest sequence of our own index after the last scan.
    pub sequence: i64,
    /// Deletions of containers that wait for a person.
    pub pending_deletions: PendingDeletions,
    /// Counts changes of names that syncthing passes over.
    pub passed_over: u64,
    /// The system watches only some of the directories.
    pub unwatched: bool,
    /// When the changes up to the sequence came so far; none when nobody noticed them.
    pub stages: Option<LocalStages>,
}

/// Where a folder stands with the local syncthing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Uptake {
    /// No syncthing runs; why, once one has failed.
    Down {
        /// A sentence.
        reason: Option<String>,
    },
    /// A syncthing runs, and can't be given the folder; why.
    Refused {
        /// A sentence.
        reason: String,
    },
    /// It scans the folder.
    Scanned {
        /// The number of its process.
        process: u64,
    },
    /// It has the folder, and nothing is scanned; why.
    Halted {
        /// The number of its process.
        process: u64,
        /// A sentence.
        reason: String,
    },
}

impl Default for Uptake {
    fn default() -> Self {
        Self::Down { reason: None }
    }
}

impl Uptake {
    /// After something failed: nothing is scanned for `reason`.
    pub(super) fn failed(&self, reason: String) -> Self {
        match *self {
            Self::Down { .. } | Self::Refused { .. } => Self::Refused { reason },
            Self::Scanned { process } | Self::Halted { process, .. } => Self::Halted { process, reason },
        }
    }
}

impl LocalState {
    /// Number of the syncthing process that has the folder.
    pub(crate) fn process(&self) -> Option<u64> {
        match self.uptake {
            Uptake::Scanned { process } | Uptake::Halted { process, .. } => Some(process),
            Uptake::Down { .. } | Uptake::Refused { .. } => None,
        }
    }

    /// Why nothing is scanned, though a syncthing runs.
    pub(crate) fn error(&self) -> Option<&str> {
        match &self.uptake {
            Uptake::Refused { reason } | Uptake::Halted { reason, .. } => Some(reason),
            Uptake::Down { .. } | Uptake::Scanned { .. } => None,
        }
    }

    /// How far its index has come.
    pub(crate) fn revision(&self) -> Revision {
        Revision { process: self.process().unwrap_or_default(), sequence: self.sequence }
    }
}

/// Waits until the local syncthing scans the folder. While none runs, `say` is told why, where that is known.
pub(in crate::local) async fn taken_up(
    mut state: watch::Receiver<LocalState>,
    say: impl Fn(&str),
) -> Result<(), Closed> {
    loop {
        match &state.borrow_and_update().uptake {
            Uptake::Scanned { .. } => return Ok(()),
            Uptake::Refused { reason } | Uptake::Halted { reason, .. } => return Err(Closed::new(reason)),
            Uptake::Down { reason: Some(reason) } => say(reason),
            Uptake::Down { reason: None } => {}
        }
        state.changed().await.map_err(|_| Closed::folder())?;
    }
}

/// When a change went through those stages of its way that are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalStages {
    /// The system's event: a file's writer has closed it.
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
pub(crate) struct Closed(String);

impl Closed {
    pub(in crate::local) fn new(why: &str) -> Self {
        Self(why.to_owned())
    }

    pub(in crate::local) fn folder() -> Self {
        Self::new("the local folder was closed")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;
    use tokio::sync::watch;

    use super::{LocalState, Uptake, taken_up};

    #[test]
    fn why_the_local_syncthing_is_down_is_said_until_it_has_the_folder() {
        let (state_tx, state) = watch::channel(LocalState::default());
        let said = Mutex::new(Vec::new());
        let mut waiting = Box::pin(taken_up(state, |reason| said.lock().unwrap().push(reason.to_owned())));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(said.lock().unwrap().is_empty(), "it starts");
        let down = Uptake::Down { reason: Some("it ended".to_owned()) };
        state_tx.send_modify(|s| s.uptake = down);
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(*said.lock().unwrap(), ["it ended"]);
        state_tx.send_modify(|s| s.uptake = Uptake::Scanned { process: 2 });
        assert!(waiting.now_or_never().unwrap().is_ok());
    }

    #[test]
    fn what_failed_keeps_the_process_that_has_the_folder() {
        let failed = |uptake: Uptake| {
            let state = LocalState { uptake: uptake.failed("gone".into()), ..LocalState::default() };
            (state.process(), state.error().map(str::to_owned))
        };
        let why = || Some("gone".to_owned());
        assert_eq!(failed(Uptake::default()), (None, why()));
        assert_eq!(failed(Uptake::Scanned { process: 3 }), (Some(3), why()));
        assert_eq!(failed(Uptake::Halted { process: 3, reason: "else".into() }), (Some(3), why()));
        let state = LocalState {
            uptake: Uptake::Halted { process: 3, reason: "gone".into() },
            ..LocalState::default()
        };
        assert!(taken_up(watch::channel(state).1, |_| {}).now_or_never().unwrap().is_err());
    }
}
