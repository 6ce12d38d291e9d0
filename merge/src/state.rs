//! What stands at a path of one side, and what is known of both.

use std::sync::Arc;

use ksync_tree::{DifferenceKind, Entry, Kind};

/// Why what is replaced is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It lost a first sync.
    First,
    /// Both sides have changed it.
    Conflict,
    /// A container has replaced it.
    Taken,
    /// A container has deleted it.
    Deleted,
    /// A container has deleted it, with much else, and a person has agreed.
    Accepted,
}

/// What stands at a path; none where nothing does.
pub type State = Option<Arc<Entry>>;

/// The permission bits that are synced: set-uid, set-gid and sticky are each side's own.
const MODE: u32 = 0o777;

/// What is known of a path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Both sides were never compared there.
    Never(Past),
    /// The same of a fresh container, others of whose kind were in sync.
    Fresh {
        /// What is remembered here.
        past: Past,
        /// What it had from the beginning: its image has it too.
        image: State,
    },
    /// Both sides agree in this. They need not be alike: a file system may round times, or know no modes.
    Agreed {
        /// What is here.
        here: State,
        /// What is in the container.
        there: State,
    },
    /// What is here was on its way to the container: it holds the old state or the new one.
    Sending {
        /// What the container had.
        old: State,
        /// What was sent, as it was here.
        new: State,
        /// Whether the old state was to be kept first: it may be nowhere else.
        keep: Option<Keep>,
    },
    /// What the container has was on its way here: the old state is here, or the new one.
    Taking {
        /// What was here.
        old: State,
        /// What was taken, as it was in the container.
        new: State,
    },
}

/// What the local side remembers of a path that was never compared with this container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Nothing: it was never in sync with any container.
    None,
    /// It was in sync with another container of the spec, and what is here now is what became of it since.
    Synced,
}

/// Whether two states hold the same in all that is synced. The time of a directory or symlink is not.
pub fn same(a: &State, b: &State) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            content(a, b)
                && (a.kind == Kind::Symlink || a.mode & MODE == b.mode & MODE)
                && (a.kind != Kind::File || a.mtime_ns == b.mtime_ns)
        }
        _ => false,
    }
}

/// Whether two states have the same content, whatever their modes and times.
pub fn same_content(a: &State, b: &State) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => content(a, b),
        _ => false,
    }
}

fn content(a: &Entry, b: &Entry) -> bool {
    !matches!(a.difference(b), Some(DifferenceKind::Kind | DifferenceKind::Content))
}

/// Whether a directory stands there.
pub(crate) fn is_dir(state: &State) -> bool {
    state.as_ref().is_some_and(|entry| entry.kind == Kind::Dir)
}

impl Known {
    /// Whether both sides were never compared.
    pub(crate) fn is_never(&self) -> bool {
        matches!(self, Self::Never(_) | Self::Fresh { .. })
    }

    /// Whether the local side is another than what is known.
    pub(crate) fn here_changed(&self, here: &State) -> bool {
        match self {
            Self::Never(_) | Self::Fresh { .. } => true,
            Self::Agreed { here: was, .. } => !same(here, was),
            Self::Sending { new, .. } => !same(here, new),
            Self::Taking { old, new } => !same(here, old) && !same_content(here, new),
        }
    }

    /// Whether the container's side is another than what is known.
    pub(crate) fn there_changed(&self, there: &State) -> bool {
        match self {
            Self::Never(_) | Self::Fresh { .. } => true,
            Self::Agreed { there: was, .. } => !same(there, was),
            Self::Sending { old, new, .. } => !same(there, old) && !same_content(there, new),
            Self::Taking { new, .. } => !same(there, new),
        }
    }
}
