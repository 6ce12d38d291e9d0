//! What a spec and each of its containers are doing: the words of the status table and how they add up.
//!
//! The board is the one place that `get` reads. Whoever runs a spec or a service owns its own entry there
//! and no other.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::config::SpecDetails;

/// The status words, from best to worst, so that the worst of several is their maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Every container has acknowledged the last local change.
    Watching,
    /// The app is being given the new code.
    Reloading,
    /// Changes are on their way.
    Syncing,
    /// A container's directory is being found, compared and bound.
    Attaching,
    /// No pod matches, or none runs yet.
    Waiting,
    /// Something waits for a person's answer.
    Confirm,
    /// Stopped on purpose, with the reason.
    Paused,
    /// Both sides changed one file.
    Conflict,
    /// Something is wrong, with a sentence.
    Error,
    /// No watcher runs.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Watching => "watching",
            Self::Reloading => "reloading",
            Self::Syncing => "syncing",
            Self::Attaching => "attaching",
            Self::Waiting => "waiting",
            Self::Confirm => "confirm",
            Self::Paused => "paused",
            Self::Conflict => "conflict",
            Self::Error => "error",
            Self::Stopped => "stopped",
        })
    }
}

/// A status with why and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The word.
    pub status: Status,
    /// A sentence; empty when there is nothing to add.
    pub reason: String,
    /// When the word last changed.
    pub since: Timestamp,
}

impl Standing {
    /// A standing that begins now.
    pub fn new(status: Status, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), since: Timestamp::now() }
    }

    fn replace(&mut self, status: Status, reason: String) {
        if self.status != status {
            self.since = Timestamp::now();
        }
        self.status = status;
        self.reason = reason;
    }
}

/// One container of a spec.
#[derive(Debug, Clone)]
pub struct ServiceState {
    /// Pod's name.
    pub pod: String,
    /// Container's name.
    pub container: String,
    /// With its runtime's scheme.
    pub container_id: String,
    /// Node's name.
    pub node: String,
    /// What it is doing.
    pub standing: Standing,
    /// When radar was last heard of for it.
    pub last_contact: Option<Timestamp>,
    /// lead, follower, alias; empty before it joined.
    pub role: &'static str,
    /// Whether what the container writes comes back.
    pub two_way: bool,
    /// Mounts below the path that are not synced, with why.
    pub excluded: Vec<String>,
    /// How much of it is in sync, 0 to 100.
    pub percent: u32,
    /// The local syncthing process, and the sequence of its index, that it holds everything of.
    pub acknowledged: (u64, i64),
    /// The way of the last local edit to it.
    pub last_edit: Option<Edit>,
}

/// When a local edit got through each stage of its way to a container, since it was noticed. Stages on the node are told
/// by its clock's differences, so they are as exact as half a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// When it was noticed.
    pub at: Timestamp,
    /// The scan was asked for.
    pub posted: Duration,
    /// The scan was over.
    pub scanned: Duration,
    /// The node's syncthing had the index.
    pub index: Option<Duration>,
    /// The node's syncthing had finished the last item.
    pub finished: Option<Duration>,
    /// The node's other containers had it.
    pub copied: Option<Duration>,
    /// The node had answered that all of it is there.
    pub settled: Duration,
}

/// One spec.
#[derive(Debug, Clone)]
pub struct SpecState {
    /// The spec as it runs.
    pub details: SpecDetails,
    /// What the spec says of itself, before its containers are looked at.
    pub standing: Standing,
    /// Its containers, by container id.
    pub services: BTreeMap<String, ServiceState>,
    /// Things worth saying that stop nothing.
    pub warnings: Vec<String>,
}

impl SpecState {
    /// The standing of the spec as a whole: its own when that is worse, else that of its worst container.
    pub fn overall(&self) -> Standing {
        let worst = self.services.values().map(|service| &service.standing).max_by_key(|s| s.status);
        match worst {
            Some(standing) if self.standing.status == Status::Watching => standing.clone(),
            Some(standing) if standing.status > self.standing.status => standing.clone(),
            // Containers run, and whoever was to look after them is gone.
            None if self.standing.status == Status::Watching => Standing {
                status: Status::Error,
                reason: "a defect: nobody looks after its containers; the watcher's log tells more"
                    .to_owned(),
                since: self.standing.since,
            },
            _ => self.standing.clone(),
        }
    }

    /// Containers that are in sync, and all.
    pub fn count(&self) -> (usize, usize) {
        let good = |service: &&ServiceState| service.standing.status == Status::Watching;
        (self.services.values().filter(good).count(), self.services.len())
    }
}

/// Everything that `get` shows.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// By spec name.
    pub specs: BTreeMap<String, SpecState>,
    /// Why the newest ksync.yaml is not in force.
    pub config_error: Option<String>,
    /// Why the cluster can't be reached.
    pub cluster_error: Option<String>,
}

/// The board's writing end. Clones share one board.
#[derive(Debug, Clone)]
pub struct BoardTx(watch::Sender<Board>);

impl Default for BoardTx {
    fn default() -> Self {
        Self(watch::Sender::new(Board::default()))
    }
}

impl BoardTx {
    /// A reading end, which sees every later change.
    pub fn subscribe(&self) -> watch::Receiver<Board> {
        self.0.subscribe()
    }

    /// Changes the board as a whole.
    pub fn modify(&self, change: impl FnOnce(&mut Board)) {
        self.0.send_modify(change);
    }

    /// Puts a spec on the board, waiting.
    pub fn add_spec(&self, details: SpecDetails) {
        self.0.send_modify(|board| {
            let standing = Standing::new(Status::Waiting, "");
            let name = details.name.clone();
            let spec = SpecState { details, standing, services: BTreeMap::new(), warnings: Vec::new() };
            board.specs.insert(name, spec);
        });
    }

    /// Changes a spec's own standing.
    pub fn spec(&self, name: &str, status: Status, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.send_if_modified(|board| {
            let spec = board.specs.get_mut(name);
            spec.map(|spec| spec.standing.replace(status, reason)).is_some()
        });
    }

    /// Takes a spec off the board.
    pub fn remove_spec(&self, name: &str) {
        self.0.send_modify(|board| drop(board.specs.remove(name)));
    }

    /// The entry of one container of one spec.
    pub fn service(&self, spec: &str, state: ServiceState) -> ServiceTx {
        let tx = ServiceTx { board: self.clone(), spec: spec.to_owned(), id: state.container_id.clone() };
        self.0.send_modify(|board| {
            if let Some(spec) = board.specs.get_mut(spec) {
                spec.services.insert(state.container_id.clone(), state);
            }
        });
        tx
    }
}

/// The writing end of one container's entry, which goes away with it.
#[derive(Debug)]
pub struct ServiceTx {
    board: BoardTx,
    spec: String,
    id: String,
}

impl ServiceTx {
    /// Changes the entry.
    pub fn modify(&self, change: impl FnOnce(&mut ServiceState)) {
        self.board.0.send_if_modified(|board| {
            let entry = board.specs.get_mut(&self.spec).and_then(|spec| spec.services.get_mut(&self.id));
            entry.map(change).is_some()
        });
    }

    /// Sets the status word and its reason.
    pub fn set(&self, status: Status, reason: impl Into<String>) {
        let reason = reason.into();
        self.modify(|service| service.standing.replace(status, reason));
    }
}

impl Drop for ServiceTx {
    fn drop(&mut self) {
        self.board.0.send_modify(|board| {
            if let Some(spec) = board.specs.get_mut(&self.spec) {
                spec.services.remove(&self.id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BoardTx, ServiceState, SpecState, Standing, Status};
    use crate::config::SpecDetails;

    fn service(id: &str, status: Status) -> ServiceState {
        ServiceState {
            pod: "p".into(),
            container: "c".into(),
            container_id: id.into(),
            node: "n".into(),
            standing: Standing::new(status, "why"),
            last_contact: None,
            role: "",
            two_way: false,
            excluded: Vec::new(),
            percent: 0,
            acknowledged: (0, 0),
            last_edit: None,
        }
    }

    #[test]
    fn a_spec_is_as_bad_as_its_worst_container() {
        let board = BoardTx::default();
        board.add_spec(SpecDetails { name: "s".into(), ..SpecDetails::default() });
        board.spec("s", Status::Watching, "");
        let good = board.service("s", service("a", Status::Watching));
        let bad = board.service("s", service("b", Status::Error));
        let seen = board.subscribe();
        assert_eq!(seen.borrow().specs["s"].overall().status, Status::Error);
        assert_eq!(seen.borrow().specs["s"].count(), (1, 2));
        drop(bad);
        assert_eq!(seen.borrow().specs["s"].overall().status, Status::Watching);
        good.set(Status::Syncing, "");
        assert_eq!(seen.borrow().specs["s"].overall().status, Status::Syncing);
        drop(good);
        assert_eq!(
            seen.borrow().specs["s"].overall().status,
            Status::Error,
            "all is not well with nobody there"
        );
        board.spec("s", Status::Waiting, "no pod");
        assert_eq!(seen.borrow().specs["s"].overall().status, Status::Waiting);
    }

    const ALL: [Status; 10] = [
        Status::Watching,
        Status::Reloading,
        Status::Syncing,
        Status::Attaching,
        Status::Waiting,
        Status::Confirm,
        Status::Paused,
        Status::Conflict,
        Status::Error,
        Status::Stopped,
    ];

    proptest! {
        /// A spec is never called better than its worst part, and `watching` means that all of it is.
        #[test]
        fn a_spec_is_what_its_worst_part_is(
            own in prop::sample::select(&ALL[..]),
            parts in prop::collection::vec(prop::sample::select(&ALL[..]), 0..6),
        ) {
            let state = SpecState {
                details: SpecDetails::default(),
                standing: Standing::new(own, "own"),
                services: parts.iter().enumerate().map(|(n, s)| (n.to_string(), service("c", *s))).collect(),
                warnings: Vec::new(),
            };
            let overall = state.overall();
            let worst = parts.iter().copied().max().map_or(own, |part| part.max(own));
            // With nobody there, nothing is in sync.
            let nobody = parts.is_empty() && own == Status::Watching;
            prop_assert_eq!(overall.status, if nobody { Status::Error } else { worst });
            prop_assert!(nobody || overall.reason == "own" || parts.contains(&overall.status));
            let (good, all) = state.count();
            prop_assert!(good <= all && all == parts.len());
            prop_assert!(overall.status != Status::Watching || good == all);
        }
    }

    #[test]
    fn the_time_stays_while_the_word_stays() {
        let mut standing = Standing::new(Status::Waiting, "one");
        let since = standing.since;
        standing.replace(Status::Waiting, "two".into());
        assert_eq!((standing.since, standing.reason.as_str()), (since, "two"));
    }
}
