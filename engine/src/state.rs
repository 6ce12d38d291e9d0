//! How far a local directory and its containers are.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// All of it, as of the engine's last turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The local directory was listed once.
    pub listed: bool,
    /// Why nothing is done, if so.
    pub halted: Option<String>,
    /// What can't be looked at here, with the reasons.
    pub skipped: Arc<BTreeMap<String, String>>,
    /// Counts edits that were made here.
    pub edits: u64,
    /// The attached containers, by name.
    pub members: BTreeMap<Arc<str>, MemberState>,
}

/// How far one container is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberState {
    /// It was listed once.
    pub listed: bool,
    /// Both sides hold the same, as far as is known.
    pub settled: bool,
    /// When both sides were last found to hold the same, by their own sums of all that is there.
    pub as_of: Option<Instant>,
    /// Operations that are to be done or under way.
    pub behind: usize,
    /// What fails, with the reasons.
    pub failures: Arc<BTreeMap<String, String>>,
    /// Directories that stay in the container for what a person has left out by a pattern.
    pub shells: u64,
    /// What waits for a person.
    pub question: Option<Question>,
    /// The number of the last edit here that the container holds.
    pub holds: u64,
    /// Differences that were found by comparing sums, or by the audit, and mended.
    pub healed: u64,
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The container has removed much of what is here. It is all still here.
    Removed {
        /// Files, of how many.
        files: usize,
        /// That are here.
        of: usize,
    },
    /// Much of what the container holds is gone here.
    GoneHere {
        /// Files, of how many.
        files: usize,
        /// That were in sync.
        of: usize,
    },
}

/// A claim that is older than this is none.
pub const STALE: Duration = Duration::from_secs(15);

impl MemberState {
    /// Whether both sides are known to hold the same now.
    pub fn is_watching(&self, now: Instant) -> bool {
        let fresh = self.as_of.is_some_and(|as_of| now.saturating_duration_since(as_of) < STALE);
        self.settled && self.failures.is_empty() && self.question.is_none() && fresh
    }
}
