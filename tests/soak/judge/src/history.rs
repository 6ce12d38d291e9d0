//! What was written and seen in a round, as plain data.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Microseconds since the run began.
pub type Micros = u64;

/// What a file holds, told apart by half of its BLAKE3 hash. The writers never write the same twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content(pub [u8; 16]);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, fourth, ..] = self.0;
        write!(f, "#{first:02x}{second:02x}{third:02x}{fourth:02x}")
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Absent,
    /// A directory.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Its bytes.
        content: Content,
        /// How many.
        size: u64,
        /// Permission bits.
        mode: u32,
    },
    /// A symlink.
    Link {
        /// Where it leads.
        target: String,
    },
    /// A pipe, socket or device.
    Other,
    /// It could not be told: the writer was interrupted, or somebody else was faster.
    Unknown,
}

impl State {
    /// The content of a file that has any.
    pub fn content(&self) -> Option<Content> {
        match self {
            Self::File { content, size: 1.., .. } => Some(*content),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "nothing"),
            Self::Dir { mode } => write!(f, "directory {mode:o}"),
            Self::File { content, size, mode } => write!(f, "{content:?} ({size} bytes, {mode:o})"),
            Self::Link { target } => write!(f, "link to `{target}`"),
            Self::Other => write!(f, "something else"),
            Self::Unknown => write!(f, "unknown"),
        }
    }
}

/// Everything below a directory, by relative path.
pub type Tree = BTreeMap<String, State>;

/// Where something was written or seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The local directory.
    Local,
    /// A container, by its id.
    Container(String),
}

impl Side {
    /// The container's id.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Local => None,
            Self::Container(id) => Some(id),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => write!(f, "local"),
            Self::Container(id) => {
                let (_, hash) = id.split_once("://").unwrap_or(("", id));
                write!(f, "container {}", hash.get(..8).unwrap_or(hash))
            }
        }
    }
}

/// What one of the writers did to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Just before.
    pub begun: Micros,
    /// Just after.
    pub ended: Micros,
    /// Where.
    pub side: Side,
    /// Relative.
    pub path: String,
    /// In words.
    pub what: &'static str,
    /// What stood there.
    pub before: State,
    /// What stands there.
    pub after: State,
}

/// A container's claim to be in sync, and a difference that was found after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// What the claim is about: the moment that it names, or else that at which it was asked for.
    pub as_of: Micros,
    /// When the difference was seen for the last time.
    pub seen: Micros,
    /// The container's id.
    pub container: String,
    /// The path.
    pub path: String,
    /// What is here.
    pub local: State,
    /// What is there.
    pub there: State,
}

/// A kept file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Relative to the local path.
    pub path: String,
    /// The name of its kind's directory.
    pub kind: String,
    /// What it holds.
    pub content: Content,
    /// Whether it came in this round.
    pub new: bool,
}

/// A change that the observer saw, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Micros,
    /// Where.
    pub side: Side,
    /// The path.
    pub path: String,
    /// What is there since.
    pub state: State,
}

/// What is where when the round is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Here.
    pub local: Tree,
    /// In each container that lives, by its id.
    pub containers: BTreeMap<String, Tree>,
    /// What is kept.
    pub kept: Vec<Kept>,
}

/// A round, as it was written and seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// What was everywhere at its beginning.
    pub base: Tree,
    /// Contents that containers wrote in earlier rounds.
    pub theirs: BTreeSet<Content>,
    /// All that the writers did.
    pub ops: Vec<Op>,
    /// Which container `get` called two-way, and when it answered; in order.
    pub roles: Vec<(Micros, String)>,
    /// When the first fault struck; none in a calm round.
    pub fault: Option<Micros>,
    /// Containers that ended, and when each was last seen alive.
    pub died: BTreeMap<String, Micros>,
    /// The pod of each container that was seen, by its id.
    pub pods: BTreeMap<String, String>,
    /// Differences under a claim.
    pub sightings: Vec<Sighting>,
    /// What was seen to change.
    pub seen: Vec<Seen>,
    /// Paths of temporary files that an earlier round was told of.
    pub left: BTreeSet<String>,
    /// The end.
    pub end: End,
}
