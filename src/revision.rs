//! How far a local folder's index has come: a leaf that the local side, the containers' status, the base and the reload
//! decision share.
//!
//! Invariant: revisions are ordered as they come to be. A later process of the local syncthing begins with an empty index and
//! counts anew, so its revisions are later than all of its predecessor's.

/// A point in the local syncthing's own index of a folder. Whoever has acknowledged it holds every change up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision {
    /// Number of the local syncthing's process, counted from 1 in each watcher; 0 while there is none.
    pub process: u64,
    /// Sequence of our own index in that process, as its `db/status` gives it.
    pub sequence: i64,
}

#[cfg(test)]
mod tests {
    use super::Revision;

    #[test]
    fn a_later_process_is_later_whatever_its_sequence() {
        let revision = |process, sequence| Revision { process, sequence };
        assert!(revision(1, 900) < revision(2, 5) && revision(2, 5) < revision(2, 6));
        assert!(Revision::default() < revision(1, 0));
    }
}
