//! What must be done so that a container's directory holds what is here. Pure: listings in, paths out.

use std::{cmp::Ordering, collections::BTreeSet};

use ksync_tree::{DifferenceKind, Entry, Kind, compare, differences};

/// Container-only files above which nothing is pulled unasked.
const PULL_FILES: usize = 1000;
/// Container-only bytes above which nothing is pulled unasked.
const PULL_BYTES: u64 = 50 << 20;

/// The way to equal trees.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Here and missing or different there: goes there. Local content wins.
    pub(super) send: Vec<String>,
    /// Only in the container.
    pub(super) extra: Vec<Entry>,
    /// A file in one place and a directory in the other: nobody's content is overwritten for the other.
    pub(super) clashes: Vec<String>,
}

/// Compares a local listing with a container's. `unknown` are paths here whose content could not be listed,
/// and that therefore say nothing about what is below them.
pub(super) fn plan(local: &[Entry], remote: &[Entry]) -> Plan {
    let mut plan = Plan::default();
    let mut extra = BTreeSet::new();
    for difference in differences(local, remote) {
        match difference.kind {
            DifferenceKind::OnlyInB => drop(extra.insert(difference.path)),
            DifferenceKind::Kind if is_dir(local, &difference.path) || is_dir(remote, &difference.path) => {
                plan.clashes.push(difference.path);
            }
            DifferenceKind::Mtime if is_dir(local, &difference.path) => {}
            _ => plan.send.push(difference.path),
        }
    }
    plan.extra = remote.iter().filter(|entry| extra.contains(&entry.path)).cloned().collect();
    plan
}

fn is_dir(entries: &[Entry], path: &str) -> bool {
    let found = entries.binary_search_by(|entry| compare(&entry.path, path));
    found.ok().and_then(|index| entries.get(index)).is_some_and(|entry| entry.kind == Kind::Dir)
}

/// Whether so much exists only in the container that a person is asked first: files and bytes.
pub(super) fn too_much(extra: &[Entry]) -> Option<(usize, u64)> {
    let files = extra.iter().filter(|entry| entry.kind != Kind::Dir).count();
    let bytes = extra.iter().map(|entry| entry.size).sum();
    let over = files.cmp(&PULL_FILES) == Ordering::Greater || bytes > PULL_BYTES;
    over.then_some((files, bytes))
}

#[cfg(test)]
mod tests {
    use ksync_tree::{Entry, Kind};

    use super::{plan, too_much};

    fn file(path: &str, content: u8) -> Entry {
        Entry {
            path: path.into(),
            kind: Kind::File,
            size: 1,
            mtime_ns: 0,
            mode: 0o644,
            hash: Some([content; 32]),
            target: None,
        }
    }

    fn dir(path: &str, mtime_ns: i64) -> Entry {
        Entry { kind: Kind::Dir, size: 0, mtime_ns, mode: 0o755, hash: None, ..file(path, 0) }
    }

    #[test]
    fn local_content_wins_and_extra_files_stay() {
        let plan = plan(&[file("a", 1), file("b", 1), file("c", 1)], &[file("b", 2), file("c", 1), file("d", 1)]);
        assert_eq!(plan.send, ["a", "b"]);
        assert_eq!(plan.extra.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["d"]);
    }

    #[test]
    fn a_file_against_a_directory_is_a_clash() {
        let plan = plan(&[file("x", 1)], &[dir("x", 0), file("x/y", 1)]);
        assert_eq!((plan.clashes, plan.send), (vec!["x".to_owned()], vec![]));
    }

    #[test]
    fn times_of_directories_do_not_matter_and_modes_do() {
        let mut open = dir("d", 2);
        assert_eq!(plan(&[dir("d", 1)], &[open.clone()]).send, Vec::<String>::new());
        open.mode = 0o777;
        assert_eq!(plan(&[dir("d", 1)], &[open]).send, ["d"]);
    }

    #[test]
    fn much_that_is_only_there_is_asked_about() {
        let big = Entry { size: 60 << 20, ..file("big", 1) };
        assert_eq!(too_much(&[big]), Some((1, 60 << 20)));
        assert_eq!(too_much(&[file("a", 1)]), None);
    }
}
