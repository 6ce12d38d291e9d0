//! How much exists only in a container, before it is brought here for the first time.

use ksync_tree::{Entry, Kind, is_below};

/// Container-only files above which nothing is pulled unasked.
const PULL_FILES: usize = 1000;
/// Container-only bytes above which nothing is pulled unasked.
const PULL_BYTES: u64 = 50 << 20;

/// Whether so much exists only in the container that a person is asked first: files and bytes.
pub(in crate::folder) fn too_much(extra: &[Entry]) -> Option<(usize, u64)> {
    let files = extra.iter().filter(|entry| entry.kind != Kind::Dir).count();
    let bytes = extra.iter().map(|entry| entry.size).sum();
    (files > PULL_FILES || bytes > PULL_BYTES).then_some((files, bytes))
}

/// The uppermost of paths that only the container has: what is below one of them is not named again.
pub(in crate::folder) fn tops(extra: &[Entry]) -> Vec<String> {
    let mut tops: Vec<String> = Vec::new();
    // A listing has a directory before what is in it.
    for entry in extra {
        if !tops.last().is_some_and(|top| is_below(top, &entry.path)) {
            tops.push(entry.path.clone());
        }
    }
    tops
}

#[cfg(test)]
mod tests {
    use ksync_tree::Entry;

    use super::{too_much, tops};
    use crate::folder::plan::sample::{dir, file};

    #[test]
    fn what_lies_in_a_directory_of_its_own_is_named_by_it() {
        let extra =
            [dir("a", 0), file("a/b", 1), dir("a/c", 0), file("a/c/d", 1), file("a.txt", 1), file("e/f", 1)];
        assert_eq!(tops(&extra), ["a", "a.txt", "e/f"]);
    }

    #[test]
    fn much_that_is_only_there_is_asked_about() {
        let big = Entry { size: 60 << 20, ..file("big", 1) };
        assert_eq!(too_much(&[big]), Some((1, 60 << 20)));
        assert_eq!(too_much(&[file("a", 1)]), None);
    }
}
