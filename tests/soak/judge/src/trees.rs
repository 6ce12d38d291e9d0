//! How two trees differ, in what must be the same: names, kinds, bytes, permission bits, where links lead.

use std::collections::BTreeSet;

use crate::{
    history::{State, Tree},
    names::{is_ignored, is_own},
};

/// The paths that differ, of those that are synced.
pub fn differences(here: &Tree, there: &Tree) -> Vec<String> {
    let paths: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
    let differs = |path: &&String| at(here, path) != at(there, path) && !is_ignored(path) && !is_own(path);
    paths.into_iter().filter(differs).cloned().collect()
}

/// What is at a path.
pub(crate) fn at<'a>(tree: &'a Tree, path: &str) -> &'a State {
    tree.get(path).unwrap_or(&State::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{dir, file};

    #[test]
    fn names_kinds_bytes_and_modes() {
        let tree = |entries: &[(&str, State)]| -> Tree {
            entries.iter().map(|(path, state)| ((*path).to_owned(), state.clone())).collect()
        };
        let mode = State::File { content: crate::Content([1; 16]), size: 10, mode: 0o755 };
        let here =
            tree(&[("a", file(1)), ("b", file(1)), ("c", dir()), ("d", file(1)), (".stignore", file(9))]);
        let there = tree(&[
            ("a", file(1)),
            ("b", file(2)),
            ("c", file(3)),
            ("d", mode),
            ("own-1", file(4)),
            ("e", dir()),
        ]);
        assert_eq!(differences(&here, &there), ["b", "c", "d", "e"]);
        assert!(differences(&here, &here).is_empty());
    }
}
