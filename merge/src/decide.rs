//! What is to be done at one path, as a pure rule. docs/sync-rules.md has it as a table for users.

use ksync_tree::Entry;

use crate::op::Holds;
use crate::state::{Keep, Known, Past, State, is_dir, same, same_content};

/// What a container is for its local directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What it writes comes here.
    pub two_way: bool,
    /// Nothing of its kind was ever in sync: which side wins. None where something was: what a fresh container has is its
    /// image's then.
    pub first: Option<First>,
}

/// Which side wins a first sync, where both have content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The local one.
    Local,
    /// The container's.
    Remote,
    /// The one with the later modification time.
    Newest,
}

impl First {
    fn takes(self, ours: &Entry, theirs: &Entry) -> bool {
        match self {
            Self::Local => false,
            Self::Remote => true,
            Self::Newest => theirs.mtime_ns > ours.mtime_ns,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: both sides hold the same, and that is known from now on.
    Agree,
    /// Nothing: the container keeps what is its own.
    Leave,
    /// The container gets what is here.
    Send(Option<Keep>),
    /// What the container has comes here. What is here is kept.
    Take(Keep),
}

/// Decides for one path.
pub fn decide(here: &State, there: &State, known: &Known, policy: Policy) -> Action {
    if same(here, there) {
        return Action::Agree;
    }
    let past = match known {
        // Written since it began, it is in no image: as an edit beats a deletion, so it does here.
        Known::Fresh { image, .. } if !same(there, image) => Some(Past::None),
        Known::Never(past) | Known::Fresh { past, .. } => Some(*past),
        Known::Agreed { .. } | Known::Sending { .. } | Known::Taking { .. } => None,
    };
    if let Some(past) = past {
        return never(here, there, past, known, policy);
    }
    match (known.here_changed(here), known.there_changed(there)) {
        // What was on its way was a change of that side, and did not come: the other side has changed it too.
        (false, true) if matches!(known, Known::Sending { .. }) => both(here, there, known, policy),
        (true, false) if matches!(known, Known::Taking { .. }) => both(here, there, known, policy),
        (false, false) => match known {
            Known::Taking { .. } if policy.two_way => Action::Take(Keep::Taken),
            Known::Sending { keep, .. } => Action::Send(*keep),
            Known::Taking { .. } => Action::Send(None),
            Known::Agreed { .. } | Known::Never(_) | Known::Fresh { .. } => Action::Leave,
        },
        (true, false) => match known {
            // What was sent over it may not have come.
            Known::Sending { keep, .. } => Action::Send(*keep),
            _ => Action::Send(None),
        },
        (false, true) if policy.two_way => Action::Take(Keep::Taken),
        (false, true) => Action::Leave,
        (true, true) => both(here, there, known, policy),
    }
}

/// As what the container's content is kept that ours replaces unseen; none where nothing is lost.
pub(crate) fn kept(there: &State, known: &Known, policy: Policy) -> Option<Keep> {
    match known {
        _ if is_nothing(there) => None,
        Known::Never(_) if policy.first.is_some() => Some(Keep::First),
        Known::Fresh { image, .. } if same_content(there, image) => None,
        Known::Fresh { .. } => Some(Keep::Taken),
        // What is not to come here is in no conflict with it.
        _ => Some(if policy.two_way { Keep::Conflict } else { Keep::Taken }),
    }
}

/// Both sides have changed it: an edit beats a deletion, and of two edits the local one stands.
fn both(here: &State, there: &State, known: &Known, policy: Policy) -> Action {
    match (here, there) {
        (None, Some(_)) if policy.two_way => Action::Take(Keep::Taken),
        (None, Some(_)) => Action::Leave,
        _ if same_content(here, there) => Action::Send(None),
        _ => Action::Send(kept(there, known, policy)),
    }
}

/// Whether `new` in place of `old` is news in the container, of which this is `known`: a content that was not there, and not one
/// that the container had, and has changed on its own since.
pub(crate) fn is_news(known: Option<&Known>, old: &State, new: &State) -> bool {
    let had = matches!(known, Some(Known::Agreed { here, .. }) if same(here, new));
    let is_file = |state: &State| state.is_some() && !is_dir(state);
    (is_file(old) || is_file(new)) && !same_content(old, new) && (new.is_none() || !had)
}

fn never(here: &State, there: &State, past: Past, known: &Known, policy: Policy) -> Action {
    match (here, there) {
        // What a fresh container brings along again was deleted here since it was in sync.
        (None, Some(_)) if past == Past::Synced => Action::Send(kept(there, known, policy)),
        (None, Some(_)) if policy.two_way => Action::Take(Keep::Taken),
        (None, Some(_)) => Action::Leave,
        (Some(ours), Some(theirs)) if !same_content(here, there) => match policy.first {
            // To replace a directory would take away all that is in it.
            Some(first) if first.takes(ours, theirs) && policy.two_way && !is_dir(here) && !is_dir(there) => {
                Action::Take(Keep::Taken)
            }
            _ => Action::Send(kept(there, known, policy)),
        },
        _ => Action::Send(None),
    }
}

/// Whether nothing would be lost with it: no entry, a directory by itself, an empty file.
fn is_nothing(state: &State) -> bool {
    state.as_ref().is_none_or(|entry| match entry.kind {
        ksync_tree::Kind::Dir => true,
        ksync_tree::Kind::File => entry.size == 0,
        ksync_tree::Kind::Symlink => false,
    })
}

/// Whether an action is not done for now.
pub(crate) fn is_held(holds: Holds, here: &State, there: &State, is_never: bool, action: Action) -> bool {
    match action {
        Action::Send(_) => holds.all_there || holds.removals_there && here.is_none(),
        Action::Take(_) if there.is_none() => holds.removals_here,
        Action::Take(_) => holds.pulls && here.is_none() && is_never,
        Action::Agree | Action::Leave => false,
    }
}
