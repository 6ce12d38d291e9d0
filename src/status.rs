//! What a spec and each of its containers are doing: the words of the status table and how they add up.
//!
//! The board is the one place that `get` reads. Whoever runs a spec or a service owns its own entry there
//! and no other.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use ksync_engine::Healings;
use tokio::sync::watch;

use crate::config::{Direction, SpecDetails};

/// The status words, from best to worst, so that the worst of several is their maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Status {
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
            Self::Error => "error",
            Self::Stopped => "stopped",
        })
    }
}

/// A status with why and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The word.
    pub status: Status,
    /// A sentence; empty when there is nothing to add.
    pub reason: String,
    /// When the word last changed.
    pub since: Timestamp,
}

impl Standing {
    /// A standing that begins now.
    pub(crate) fn new(status: Status, reason: impl Into<String>) -> Self {
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

/// What became of a container's reloads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reloading {
    /// Since when its app is being given new code, if it is.
    pub due: Option<Timestamp>,
    /// How often its app was reloaded.
    pub count: u64,
    /// When the last time.
    pub last: Option<Timestamp>,
    /// Why the last one failed, was left out, or rests; empty when it was done.
    pub note: String,
    /// Whether that is worth a person's look.
    pub failed: bool,
}

/// One container of a spec.
#[derive(Debug, Clone)]
pub(crate) struct ServiceState {
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
    /// As of when both sides were last found to hold the same.
    pub as_of: Option<Instant>,
    /// What of it was found to be other than it was known, and was mended.
    pub healings: Healings,
    /// Which way changes go now; both while what the container writes comes back.
    pub direction: Direction,
    /// Mounts below the path that are not synced, with why.
    pub excluded: Vec<String>,
    /// Whether the path was not there before it was attached.
    pub created: bool,
    /// Whether it is written whatever its permissions.
    pub overrides: bool,
    /// How much of it is in sync, 0 to 100.
    pub percent: u32,
    /// The last local edit that it was given.
    pub last_edit: Option<Edit>,
    /// How its app is given what it holds.
    pub reload: Reloading,
}

/// Name of the spec, id of the container.
pub(crate) type ServiceKey<'b> = (&'b str, &'b str);

impl ServiceState {
    /// Whether both sides are said to hold the same.
    pub(crate) fn claims(&self) -> bool {
        self.standing.status == Status::Watching
    }

    /// Whether both sides were found to hold the same by a comparison that began at `asked` or later.
    pub(crate) fn is_compared_since(&self, asked: Instant) -> bool {
        self.as_of.is_some_and(|as_of| as_of >= asked)
    }

    /// What it is doing as a person is told: what is in sync may be reloading, or could not be.
    pub(crate) fn shown(&self) -> Standing {
        match (&self.standing, &self.reload) {
            (Standing { status: Status::Watching, .. }, Reloading { due: Some(since), .. }) => {
                Standing { status: Status::Reloading, reason: String::new(), since: *since }
            }
            (standing, Reloading { failed: true, note, .. }) if standing.reason.is_empty() => {
                Standing { reason: format!("not reloaded: {note}"), ..standing.clone() }
            }
            (standing, _) => standing.clone(),
        }
    }
}

/// A local edit that a container was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edit {
    /// When it was noticed.
    pub at: Timestamp,
    /// From then until it was known to be there.
    pub settled: Duration,
}

/// One spec.
#[derive(Debug, Clone)]
pub(crate) struct SpecState {
    /// The spec as it runs.
    pub details: SpecDetails,
    /// What the spec says of itself, before its containers are looked at.
    pub standing: Standing,
    /// Its containers, by container id.
    pub services: BTreeMap<String, ServiceState>,
    /// Things worth saying that stop nothing.
    pub warnings: Vec<String>,
    /// What was found here to be other than it was known, and was mended.
    pub healings: Healings,
}

impl SpecState {
    /// The standing of the spec as a whole: its own when that is worse, else that of its worst container.
    pub(crate) fn overall(&self) -> Standing {
        // Of equals, one that has something to say.
        let weight = |standing: &Standing| (standing.status, !standing.reason.is_empty());
        let worst = self.services.values().map(ServiceState::shown).max_by_key(weight);
        match worst {
            Some(standing) if self.standing.status == Status::Watching => standing,
            Some(standing) if standing.status > self.standing.status => standing,
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
}

/// Everything that `get` shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    /// By spec name.
    pub specs: BTreeMap<String, SpecState>,
    /// Why the newest ksync.yaml is not in force.
    pub config_error: Option<String>,
    /// Why the cluster can't be reached.
    pub cluster_error: Option<String>,
}

/// Why a container that is in sync, as far as is known, is not called so.
const NOT_COMPARED: &str = "what changed last is not compared yet";

impl Board {
    /// All containers.
    pub(crate) fn services(&self) -> impl Iterator<Item = (ServiceKey<'_>, &ServiceState)> {
        self.specs.iter().flat_map(|(name, spec)| {
            spec.services.iter().map(move |(id, service)| ((name.as_str(), id.as_str()), service))
        })
    }

    /// The board as it may be told to whoever asked at `asked`: what was not compared since is not called `watching`.
    pub(crate) fn told_to(mut self, asked: Instant) -> Self {
        for service in self.specs.values_mut().flat_map(|spec| spec.services.values_mut()) {
            if service.claims() && !service.is_compared_since(asked) {
                service.standing.replace(Status::Syncing, NOT_COMPARED.to_owned());
            }
        }
        self
    }
}

/// The board's writing end. Clones share one board.
#[derive(Debug, Clone)]
pub(crate) struct BoardTx(watch::Sender<Board>);

impl Default for BoardTx {
    fn default() -> Self {
        Self(watch::Sender::new(Board::default()))
    }
}

impl BoardTx {
    /// A reading end, which sees every later change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Board> {
        self.0.subscribe()
    }

    /// Changes the board as a whole.
    pub(crate) fn modify(&self, change: impl FnOnce(&mut Board)) {
        self.0.send_modify(change);
    }

    /// Changes the board where `change` says that there is news.
    pub(crate) fn modify_if(&self, change: impl FnOnce(&mut Board) -> bool) {
        self.0.send_if_modified(change);
    }

    /// Puts a spec on the board, waiting.
    pub(crate) fn add_spec(&self, details: SpecDetails) {
        self.0.send_modify(|board| {
            let standing = Standing::new(Status::Waiting, "");
            let name = details.name.clone();
            let spec = SpecState {
                details,
                standing,
                services: BTreeMap::new(),
                warnings: Vec::new(),
                healings: Healings::default(),
            };
            board.specs.insert(name, spec);
        });
    }

    /// Changes a spec's own standing.
    pub(crate) fn spec(&self, name: &str, status: Status, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.send_if_modified(|board| {
            let spec = board.specs.get_mut(name);
            spec.map(|spec| spec.standing.replace(status, reason)).is_some()
        });
    }

    /// Takes a spec off the board.
    pub(crate) fn remove_spec(&self, name: &str) {
        self.0.send_modify(|board| drop(board.specs.remove(name)));
    }

    /// The entry of one container of one spec.
    pub(crate) fn service(&self, spec: &str, state: ServiceState) -> ServiceTx {
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
pub(crate) struct ServiceTx {
    board: BoardTx,
    spec: String,
    id: String,
}

impl ServiceTx {
    /// Changes the entry.
    pub(crate) fn modify(&self, change: impl FnOnce(&mut ServiceState)) {
        self.board.0.send_if_modified(|board| {
            let entry = board.specs.get_mut(&self.spec).and_then(|spec| spec.services.get_mut(&self.id));
            entry.map(change).is_some()
        });
    }

    /// Sets the status word and its reason.
    pub(crate) fn set(&self, status: Status, reason: impl Into<String>) {
        let reason = reason.into();
        self.modify(|service| service.standing.replace(status, reason));
    }
}

impl ServiceTx {
    /// Takes the entry off the board: nobody is to wait for it any more.
    pub(crate) fn withdraw(&self) {
        self.board.0.send_if_modified(|board| {
            let spec = board.specs.get_mut(&self.spec);
            spec.is_some_and(|spec| spec.services.remove(&self.id).is_some())
        });
    }

    /// The part of the entry that reloads write.
    pub(crate) fn reload_note(&self) -> ReloadNote {
        ReloadNote { board: self.board.clone(), spec: self.spec.clone(), id: self.id.clone() }
    }
}

/// The writing end of one container's [`Reloading`], of no effect once the entry is gone.
#[derive(Debug, Clone)]
pub(crate) struct ReloadNote {
    board: BoardTx,
    spec: String,
    id: String,
}

impl ReloadNote {
    fn modify(&self, change: impl FnOnce(&mut Reloading)) {
        self.board.0.send_if_modified(|board| {
            let entry = board.specs.get_mut(&self.spec).and_then(|spec| spec.services.get_mut(&self.id));
            let Some(entry) = entry else { return false };
            let before = entry.reload.clone();
            change(&mut entry.reload);
            entry.reload != before
        });
    }

    /// Whether new code is on its way to the app, or why it `rests`.
    pub(crate) fn due(&self, due: bool, rests: &str) {
        self.modify(|reload| {
            reload.due = due.then(|| reload.due.unwrap_or_else(Timestamp::now));
            if !rests.is_empty() {
                (reload.note, reload.failed) = (rests.to_owned(), true);
            }
        });
    }

    /// It was done.
    pub(crate) fn reloaded(&self) {
        self.modify(|reload| {
            reload.count += 1;
            (reload.last, reload.failed) = (Some(Timestamp::now()), false);
            reload.note.clear();
        });
    }

    /// It needs nobody.
    pub(crate) fn left_alone(&self, why: &str) {
        self.modify(|reload| (reload.note, reload.failed) = (format!("left alone: {why}"), false));
    }

    /// It could not be done.
    pub(crate) fn failed(&self, why: &str) {
        self.modify(|reload| (reload.note, reload.failed) = (why.to_owned(), true));
    }
}

impl Drop for ServiceTx {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ksync_engine::Healings;
    use proptest::prelude::*;

    use super::{BoardTx, ServiceState, SpecState, Standing, Status};
    use crate::config::{Direction, SpecDetails};

    /// Containers that are in sync, and all.
    fn count(spec: &SpecState) -> (usize, usize) {
        let good = |service: &&ServiceState| service.shown().status == Status::Watching;
        (spec.services.values().filter(good).count(), spec.services.len())
    }

    fn service(id: &str, status: Status) -> ServiceState {
        ServiceState {
            pod: "p".into(),
            container: "c".into(),
            container_id: id.into(),
            node: "n".into(),
            standing: Standing::new(status, "why"),
            last_contact: None,
            as_of: None,
            healings: Healings::default(),
            direction: Direction::ToContainer,
            excluded: Vec::new(),
            created: false,
            overrides: false,
            percent: 0,
            last_edit: None,
            reload: super::Reloading::default(),
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
        assert_eq!(count(&seen.borrow().specs["s"]), (1, 2));
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

    const ALL: [Status; 9] = [
        Status::Watching,
        Status::Reloading,
        Status::Syncing,
        Status::Attaching,
        Status::Waiting,
        Status::Confirm,
        Status::Paused,
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
                healings: Healings::default(),
            };
            let overall = state.overall();
            let worst = parts.iter().copied().max().map_or(own, |part| part.max(own));
            // With nobody there, nothing is in sync.
            let nobody = parts.is_empty() && own == Status::Watching;
            prop_assert_eq!(overall.status, if nobody { Status::Error } else { worst });
            prop_assert!(nobody || overall.reason == "own" || parts.contains(&overall.status));
            let (good, all) = count(&state);
            prop_assert!(good <= all && all == parts.len());
            prop_assert!(overall.status != Status::Watching || good == all);
        }
    }

    #[test]
    fn what_is_in_sync_may_be_reloading_or_could_not_be() {
        let board = BoardTx::default();
        board.add_spec(SpecDetails { name: "s".into(), ..SpecDetails::default() });
        board.spec("s", Status::Watching, "");
        let of = board.service("s", service("a", Status::Watching));
        of.set(Status::Watching, "");
        let (note, seen) = (of.reload_note(), board.subscribe());
        let shown = || seen.borrow().specs["s"].overall();
        note.due(true, "");
        assert_eq!((shown().status, count(&seen.borrow().specs["s"])), (Status::Reloading, (0, 1)));
        of.set(Status::Syncing, "");
        assert_eq!(shown().status, Status::Syncing, "that is first");
        of.set(Status::Watching, "");
        note.failed("it is stopped");
        note.due(false, "");
        assert_eq!(
            (shown().status, shown().reason.as_str()),
            (Status::Watching, "not reloaded: it is stopped")
        );
        note.left_alone("it does so itself");
        assert_eq!((shown().status, shown().reason.as_str()), (Status::Watching, ""));
        assert_eq!(seen.borrow().specs["s"].services["a"].reload.note, "left alone: it does so itself");
        note.reloaded();
        let reload = seen.borrow().specs["s"].services["a"].reload.clone();
        assert_eq!((reload.count, reload.note.as_str(), reload.last.is_some()), (1, "", true));
        drop(of);
        note.reloaded();
    }

    #[test]
    fn what_was_not_compared_since_it_was_asked_about_is_not_called_watching() {
        let board = BoardTx::default();
        let asked = Instant::now();
        let ages = [Some(asked), asked.checked_sub(Duration::from_millis(1)), None];
        let mut all = Vec::new();
        for (number, as_of) in ages.into_iter().enumerate() {
            let name = number.to_string();
            board.add_spec(SpecDetails { name: name.clone(), ..SpecDetails::default() });
            board.spec(&name, Status::Watching, "");
            all.push(board.service(&name, ServiceState { as_of, ..service("c", Status::Watching) }));
        }
        let told = || board.subscribe().borrow().clone().told_to(asked);
        let words = |told: &super::Board| -> Vec<Status> {
            told.specs.values().map(|spec| spec.overall().status).collect()
        };
        assert_eq!(words(&told()), [Status::Watching, Status::Syncing, Status::Syncing]);
        assert_eq!(told().specs["1"].overall().reason, super::NOT_COMPARED);
        // What is worse stays so, and the app's new code is not spoken of before.
        all[1].set(Status::Error, "why");
        all[2].reload_note().due(true, "");
        assert_eq!(words(&told()), [Status::Watching, Status::Error, Status::Syncing]);
    }

    #[test]
    fn the_time_stays_while_the_word_stays() {
        let mut standing = Standing::new(Status::Waiting, "one");
        let since = standing.since;
        standing.replace(Status::Waiting, "two".into());
        assert_eq!((standing.since, standing.reason.as_str()), (since, "two"));
    }
}
