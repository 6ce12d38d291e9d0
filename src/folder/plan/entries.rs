//! Entries of a listing by path, and whether one is still what it was.

use std::collections::BTreeMap;

use ksync_tree::{Entry, Kind};

pub(in crate::folder) fn by_path(entries: &[Entry]) -> BTreeMap<&str, &Entry> {
    entries.iter().map(|entry| (entry.path.as_str(), entry)).collect()
}

/// Whether an entry is still what it was. Content is judged by size and mtime, which both sides share to the
/// nanosecond.
pub(in crate::folder) fn unchanged(now: Option<&Entry>, was: Option<&Entry>) -> bool {
    match (now, was) {
        (Some(now), Some(was)) => {
            let mtime = now.kind == Kind::Dir || now.mtime_ns == was.mtime_ns;
            now.kind == was.kind
                && now.size == was.size
                && now.target == was.target
                && now.mode == was.mode
                && mtime
        }
        _ => false,
    }
}
