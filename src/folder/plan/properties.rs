//! What holds of every merge, whatever the three trees are: checked on many small random ones.

use std::collections::{BTreeMap, BTreeSet};

use ksync_tree::{Entry, Kind, Skipped};
use proptest::prelude::*;

use ksync_tree::is_below;

use super::{Plan, Policy, Sides, missing};
use crate::{
    base::Base,
    config::{Direction, Initial},
    local::KnownVersions,
};

fn plan(
    local: &[Entry],
    remote: &[Entry],
    unlisted: &[Skipped],
    base: Option<&Base>,
    container: &str,
) -> Plan {
    let sides = Sides { local, unlisted, remote, container, base, recent: &KnownVersions::default() };
    let policy = Policy { direction: Direction::Both, initial: Initial::Local, first_container: true };
    super::plan(sides, policy)
}

/// A tree: files with a content, directories, by path.
type Tree = BTreeMap<String, Entry>;

const NAMES: [&str; 8] = ["a", "b", "d", "d/x", "d/y", "d/z", "d/z/f", "e"];

fn entry(path: &str, content: Option<u8>) -> Entry {
    let (kind, size, mode) = match content {
        Some(content) => (Kind::File, u64::from(content) + 1, 0o644),
        None => (Kind::Dir, 0, 0o755),
    };
    Entry {
        path: path.to_owned(),
        kind,
        size,
        mtime_ns: i64::from(content.unwrap_or(0)),
        mode,
        hash: content.map(|content| [content; 32]),
        target: None,
    }
}

/// Each name is missing, a directory, or one of three contents; what lies below something else than a directory is not
/// there.
fn tree() -> impl Strategy<Value = Tree> {
    let node =
        prop_oneof![2 => Just(None), 2 => Just(Some(None)), 4 => (0_u8..3).prop_map(|c| Some(Some(c)))];
    prop::collection::vec(node, NAMES.len()).prop_map(|nodes| {
        let mut tree = Tree::new();
        for (name, node) in NAMES.iter().zip(nodes) {
            let above = name.rsplit_once('/').map(|(above, _)| above);
            let fits = above.is_none_or(|above| tree.get(above).is_some_and(|entry| entry.kind == Kind::Dir));
            if let Some(content) = node.filter(|_| fits) {
                tree.insert((*name).to_owned(), entry(name, content));
            }
        }
        tree
    })
}

/// Two trees in which nothing is a directory on one side only.
fn pair() -> impl Strategy<Value = (Tree, Tree)> {
    (tree(), tree()).prop_map(|(here, mut there)| {
        let is_dir = |entry: &Entry| entry.kind == Kind::Dir;
        let clash = |entry: &Entry| here.get(&entry.path).is_some_and(|ours| is_dir(ours) != is_dir(entry));
        let clashes: Vec<String> = there.values().filter(|e| clash(e)).map(|e| e.path.clone()).collect();
        there.retain(|path, _| !clashes.iter().any(|clash| ksync_tree::covers(clash, path)));
        (here, there)
    })
}

fn listing(tree: &Tree) -> Vec<Entry> {
    let mut entries: Vec<Entry> = tree.values().cloned().collect();
    entries.sort_by(|a, b| ksync_tree::compare(&a.path, &b.path));
    entries
}

/// A base, or none; the container is one that it knows, or not, and the two-way one, or not.
fn base() -> impl Strategy<Value = Option<Base>> {
    let gone = prop::collection::btree_set(prop::sample::select(&NAMES[..]), 0..3);
    let known = (tree(), gone, any::<bool>(), any::<bool>()).prop_map(|(tree, gone, seen, two_way)| {
        let entries: Vec<Entry> =
            listing(&tree).into_iter().map(|entry| Entry { hash: None, ..entry }).collect();
        Base {
            gone: gone.into_iter().filter(|path| !tree.contains_key(*path)).map(str::to_owned).collect(),
            entries,
            two_way: (seen && two_way).then(|| "c".to_owned()),
            seen: seen.then(|| "c".to_owned()).into_iter().collect(),
        }
    });
    prop_oneof![1 => Just(None), 4 => known.prop_map(Some)]
}

/// Both trees after the plan is carried out, as the folder does it.
fn carried_out(plan: &Plan, here: &Tree, there: &Tree) -> (Tree, Tree) {
    let (mut local, mut remote) = (here.clone(), there.clone());
    for path in plan.remove.iter().rev() {
        if !remote.keys().any(|below| is_below(path, below)) {
            remote.remove(path);
        }
    }
    for entry in &plan.take {
        local.insert(entry.path.clone(), there[&entry.path].clone());
    }
    for path in &plan.send {
        remote.insert(path.clone(), here[path].clone());
    }
    for entry in &plan.extra {
        local.entry(entry.path.clone()).or_insert_with(|| entry.clone());
    }
    (local, remote)
}

fn contents(tree: &Tree) -> BTreeSet<(&str, u64)> {
    tree.values().filter(|entry| entry.kind == Kind::File).map(|e| (e.path.as_str(), e.size)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Once it is carried out, and nobody else changes anything, both sides are equal.
    #[test]
    fn a_merge_ends_with_equal_trees((here, there) in pair(), base in base()) {
        let merge = plan(&listing(&here), &listing(&there), &[], base.as_ref(), "c");
        let (local, remote) = carried_out(&merge, &here, &there);
        let again = plan(&listing(&local), &listing(&remote), &[], base.as_ref(), "c");
        prop_assert_eq!(again, Plan::default(), "{:?}", merge);
        prop_assert!(missing(&listing(&local), &listing(&remote), &[]).is_empty());
    }

    /// Each difference has one fate.
    #[test]
    fn no_path_is_meant_twice(here in tree(), there in tree(), base in base()) {
        let merge = plan(&listing(&here), &listing(&there), &[], base.as_ref(), "c");
        let entries = |list: &[Entry]| list.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>();
        let all = [&merge.send, &merge.remove, &merge.clashes, &entries(&merge.take), &entries(&merge.extra)];
        let paths: Vec<&String> = all.into_iter().flatten().collect();
        let distinct: BTreeSet<&String> = paths.iter().copied().collect();
        prop_assert_eq!(distinct.len(), paths.len(), "{:?}", merge);
        prop_assert!(merge.losers.iter().all(|path| merge.send.contains(path)));
    }

    /// Nothing is taken away there that the local side never had, or has.
    #[test]
    fn only_what_was_here_once_is_removed_there(here in tree(), there in tree(), base in base()) {
        let merge = plan(&listing(&here), &listing(&there), &[], base.as_ref(), "c");
        for path in &merge.remove {
            prop_assert!(!here.contains_key(path));
            let base = base.as_ref().expect("without a base nothing is removed");
            let known = base.entries.iter().any(|entry| entry.path == *path) || base.gone.contains(path);
            prop_assert!(known, "{path}");
        }
    }

    /// What is here stays what it is, unless it is what was equal once and the two-way container has changed it since.
    #[test]
    fn an_edit_made_here_is_never_replaced(here in tree(), there in tree(), base in base()) {
        let merge = plan(&listing(&here), &listing(&there), &[], base.as_ref(), "c");
        for entry in &merge.take {
            let base = base.as_ref().expect("without a base nothing is taken");
            prop_assert_eq!(base.two_way.as_deref(), Some("c"));
            let was = base.entries.iter().find(|was| was.path == entry.path);
            prop_assert!(was.is_some_and(|was| was.size == here[&entry.path].size && was.kind == entry.kind));
        }
        let (local, _) = carried_out(&merge, &here, &there);
        let taken: BTreeSet<&str> = merge.take.iter().map(|entry| entry.path.as_str()).collect();
        for (path, size) in contents(&here) {
            prop_assert!(taken.contains(path) || contents(&local).contains(&(path, size)), "{path}");
        }
    }

    /// A content of the container's that is overwritten or removed there is kept, is here in the base, or is a fresh
    /// image's, of which a copy can be had.
    #[test]
    fn nothing_of_the_containers_own_is_lost(here in tree(), there in tree(), base in base()) {
        let merge = plan(&listing(&here), &listing(&there), &[], base.as_ref(), "c");
        let (_, remote) = carried_out(&merge, &here, &there);
        let fresh = base.as_ref().is_some_and(|base| !base.seen.contains("c"));
        for (path, size) in contents(&there) {
            let still = contents(&remote).contains(&(path, size));
            let in_base = |base: &Base| base.entries.iter().any(|was| was.path == path && was.size == size);
            let known = base.as_ref().is_some_and(in_base);
            let kept = merge.losers.iter().any(|loser| loser == path);
            prop_assert!(still || fresh || known || kept, "{path}: {:?}", merge);
        }
    }
}
