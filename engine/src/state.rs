//! How far a local directory and its containers are.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ksync_merge::Side;

use crate::progress::Progress;

/// All of it, as of the engine's last turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The local directory was listed once.
    pub listed: bool,
    /// Why nothing is done, if so.
    pub halted: Option<String>,
    /// Why what was replaced or removed can't be brought to its safe place, if so: it is where it was, under another name.
    pub unkept: Option<String>,
    /// What can't be looked at here, with the reasons.
    pub skipped: Arc<BTreeMap<String, String>>,
    /// Counts edits that were made here.
    pub edits: u64,
    /// What was found here to be other than it was known, and was mended.
    pub healings: Healings,
    /// The container whose writes come here, or came here last.
    pub two_way: Option<Arc<str>>,
    /// The attached containers, by name.
    pub members: BTreeMap<Arc<str>, MemberState>,
}

/// How far one container is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberState {
    /// It was listed once.
    pub listed: bool,
    /// Why nothing more of it is believed, if so.
    pub refused: Option<String>,
    /// Both sides hold the same, as far as is known.
    pub settled: bool,
    /// When both sides were last found to hold the same, by their own sums of all that is there.
    pub as_of: Option<Instant>,
    /// Tells the attachment from others of the same name.
    pub number: u64,
    /// What it writes comes here.
    pub two_way: bool,
    /// Entries at which something is to be done or under way.
    pub behind: usize,
    /// What of that goes there, and how much has gone.
    pub progress: Progress,
    /// What fails, by path.
    pub failures: Arc<BTreeMap<String, Failure>>,
    /// A path that can't be looked at, where both sides may differ.
    pub unread: Option<(Arc<str>, Failure)>,
    /// Directories that stay in the container for what a person has left out by a pattern.
    pub shells: u64,
    /// What waits for a person.
    pub questions: Questions,
    /// The number of the last edit here that the container holds.
    pub holds: u64,
    /// The last edit that it was given.
    pub last_edit: Option<LastEdit>,
    /// What of it was found to be other than it was known, and was mended.
    pub healings: Healings,
}

/// What was found to be other than it was known, by the two nets below file system events. Each is a defect somewhere: of the
/// file system, whose events do not tell all, or of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Healings {
    /// Changes that the audit has found, and no event told of then or soon after.
    pub missed: u64,
    /// Entries that were told anew, because both sides' sums did not fit what was known.
    pub recounted: u64,
}

impl std::ops::Add for Healings {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { missed: self.missed + more.missed, recounted: self.recounted + more.recounted }
    }
}

/// An edit here that a container has by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastEdit {
    /// When it was told.
    pub at: SystemTime,
    /// From then until it was known to be there.
    pub took: Duration,
}

impl LastEdit {
    /// One that was told then, and is there now.
    pub(crate) fn told(told: Instant) -> Self {
        let took = told.elapsed();
        Self { at: SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH), took }
    }
}

/// An operation that has failed, and is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where it was to be carried out.
    pub side: Side,
    /// The chain of its causes.
    pub reason: String,
}

/// What a person is asked about a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// It has removed much of what is here.
    pub removed: Option<Much>,
    /// Much of what it holds is gone here.
    pub gone_here: Option<Much>,
    /// Much is only there, and was never here.
    pub first_pull: Option<FirstPull>,
    /// It has what does not come here unasked.
    pub unasked: Option<Unasked>,
}

impl Questions {
    /// Whether nothing is asked.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Files that may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Much {
    /// How many the side that did not remove them still has.
    pub files: usize,
    /// How many were deleted here before it was seen that they are many; they are kept.
    pub before: usize,
    /// Of how many that were in sync.
    pub of: usize,
}

/// Files that only a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstPull {
    /// Files and symlinks.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Paths that hold all of these files and nothing that is here; each stands for all below it.
    pub tops: Vec<String>,
}

/// What a container has, and does not come here unasked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unasked {
    /// Entries of all kinds that wait.
    pub entries: usize,
    /// The bytes of the files, and of what would be kept.
    pub bytes: u64,
    /// Directories that git takes for repositories; empty for the local path itself.
    pub repositories: Named,
    /// Symlinks that lead out of the directory, as `path -> target`.
    pub links: Named,
    /// Files over the limit.
    pub large: Named,
    /// Files with which more would come than may come in all.
    pub in_all: Named,
    /// Contents of the container's over the limit that local content has replaced there, and that would be kept here.
    pub kept: Named,
    /// Of the entries, those at whose paths something stands here.
    pub replaced: usize,
    /// Paths that hold all other entries and nothing that is here; each stands for all below it.
    pub tops: Vec<String>,
}

/// Several, of which one is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// How many.
    pub count: usize,
    /// The first.
    pub first: String,
}

/// A claim that is older than this is none.
pub const STALE: Duration = Duration::from_secs(15);

impl MemberState {
    /// Whether both sides are known to hold the same now.
    pub fn is_watching(&self, now: Instant) -> bool {
        let fresh = self.as_of.is_some_and(|as_of| now.saturating_duration_since(as_of) < STALE);
        self.settled && self.failures.is_empty() && self.questions.is_none() && fresh
    }
}
