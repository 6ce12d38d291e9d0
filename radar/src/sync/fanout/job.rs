//! A task for the containers that follow a lead.

/// Something to be done in the followers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// An entry is complete in the lead; how it came to be, as syncthing names it.
    Copy {
        /// Relative path.
        path: String,
        /// update, metadata.
        action: String,
    },
    /// An entry was deleted in the lead.
    Remove {
        /// Relative path.
        path: String,
    },
    /// Make followers equal.
    Reconcile(Target),
}

/// Which followers are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// All.
    All,
    /// The one with this attachment id.
    One(String),
}

impl Target {
    /// Whether the follower with this attachment id is meant.
    pub(super) fn means(&self, follower: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(id) => id == follower,
        }
    }
}
