//! What the folder wants done in the containers that follow its lead.

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
    /// Make followers equal: the one with this attachment id, or all.
    Reconcile(Option<String>),
}
