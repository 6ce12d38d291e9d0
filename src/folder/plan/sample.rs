//! Entries for the tests of plans.

use ksync_tree::{Entry, Kind};

pub(super) fn file(path: &str, content: u8) -> Entry {
    Entry {
        path: path.into(),
        kind: Kind::File,
        size: 1,
        mtime_ns: i64::from(content),
        mode: 0o644,
        hash: Some([content; 32]),
        target: None,
    }
}

pub(super) fn dir(path: &str, mtime_ns: i64) -> Entry {
    Entry { kind: Kind::Dir, size: 0, mtime_ns, mode: 0o755, hash: None, ..file(path, 0) }
}
