//! What is to be done on a side, and what came of it.

use std::sync::Arc;

use crate::state::{Keep, State};

/// Where an operation is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In the local directory.
    Here,
    /// In the container.
    There,
}

/// Number of an operation, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What is to be done at one path of one side. Operations of a side are carried out in the order of their numbers.
#[derive(Debug, Clone)]
pub struct Op {
    /// Its number.
    pub id: OpId,
    /// Where.
    pub side: Side,
    /// At which path.
    pub path: Arc<str>,
    /// What stands there: nothing else may be replaced.
    pub old: State,
    /// What is to stand there, as it is on the other side.
    pub new: State,
    /// Whether what stands there is kept first, and why.
    pub keep: Option<Keep>,
    /// Whether its content is news for who runs in the container: not where the container alone has changed it, which is
    /// undone.
    pub is_news: bool,
}

/// What is to be done at a path and is not under way.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where.
    pub path: Arc<str>,
    /// On which side.
    pub side: Side,
    /// What stands there.
    pub old: State,
    /// What is to stand there.
    pub new: State,
    /// Both sides were never compared there.
    pub never: bool,
}

/// What came of an operation.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is done, and this stands there now.
    Done(State),
    /// This stands there, which is not what was to be replaced (or its directory is not there, or is not empty).
    Refused(State),
    /// It failed and has changed nothing; it is decided anew by [`Container::retry`].
    Failed,
}

/// What is not done for now: most of it before a person has agreed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is held by itself")]
pub struct Holds {
    /// Nothing is done in the container: it has ended.
    pub all_there: bool,
    /// Nothing is removed here.
    pub removals_here: bool,
    /// Nothing is removed in the container.
    pub removals_there: bool,
    /// Nothing comes here that was never in sync.
    pub pulls: bool,
}
