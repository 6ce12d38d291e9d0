//! A listing of all that a side holds, against what was known of it; and how much a container may tell of.
//!
//! Invariant: whoever answers in a container's place, what is remembered of it has a limit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ksync_endpoint::remembered_size;
use ksync_merge::{Group, State};

/// Bytes that are remembered of what one container holds: as many as radar has for all directories of one person.
const MOST: usize = 384 << 20;

/// A container tells of more than is remembered of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the container has more files than {} MiB of memory have room for: sync a smaller directory, or use --ignore",
    MOST >> 20
)]
pub(crate) struct TooMuch;

/// How much is remembered of a container.
#[derive(Debug, Default)]
pub(crate) struct Told(usize);

impl Told {
    /// At a path where `was` stood stands `is` now.
    pub(crate) fn changes(&mut self, path: &str, was: &State, is: &State) -> Result<(), TooMuch> {
        self.0 = (self.0 + size(path, is)).saturating_sub(size(path, was));
        if self.0 > MOST { Err(TooMuch) } else { Ok(()) }
    }
}

fn size(path: &str, state: &State) -> usize {
    state.as_ref().map_or(0, |entry| remembered_size(path, entry))
}

/// What was told so far of a listing that is not complete.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: BTreeMap<Arc<str>, State>,
    pub(crate) told: Told,
}

impl Listing {
    /// What stands at a path.
    pub(crate) fn hear(&mut self, path: &Arc<str>, is: &State) -> Result<(), TooMuch> {
        let was = match is {
            Some(_) => self.entries.insert(Arc::clone(path), is.clone()),
            None => self.entries.remove(path),
        };
        self.told.changes(path, &was.flatten(), is)
    }
}

/// Where a listing is not what is known of a container.
pub(crate) fn differing(
    group: &mut Group,
    name: &str,
    listing: &BTreeMap<Arc<str>, State>,
) -> Vec<(Arc<str>, State)> {
    let Some((local, container)) = group.container(name) else { return Vec::new() };
    let mut paths: BTreeSet<Arc<str>> = listing.keys().cloned().collect();
    paths.extend(local.iter().map(|(path, _)| Arc::clone(path)));
    paths.extend(container.exceptions().map(|(path, _)| Arc::clone(path)));
    paths
        .into_iter()
        .filter_map(|path| {
            let now = listing.get(&path).cloned().flatten();
            let known = container.there(local, &path);
            (!ksync_merge::same(&now, &known)).then_some((path, now))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ksync_tree::{Entry, Kind};

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "a state, as it is told")]
    fn file(target: usize) -> State {
        let (kind, target) = (Kind::Symlink, Some(vec![b'x'; target]));
        let path = String::new();
        Some(Arc::new(Entry { path, kind, size: 0, mtime_ns: 0, mode: 0, hash: None, target }))
    }

    /// The attack: whoever answers in a container's place tells of files without an end.
    #[test]
    fn what_is_remembered_of_a_container_has_a_limit() {
        let (mut listing, large) = (Listing::default(), file(MOST / 2 - 4096));
        let path = |name: &str| Arc::<str>::from(name);
        for _ in 0..5 {
            listing.hear(&path("a"), &large).unwrap();
            listing.hear(&path("a"), &None).unwrap();
            listing.hear(&path("b"), &large).unwrap();
        }
        listing.hear(&path("small"), &file(1)).unwrap();
        assert_eq!(listing.entries.len(), 2, "b, and the small one");
        listing.hear(&path("a"), &large).unwrap();
        let refused = listing.hear(&path("c"), &large).unwrap_err();
        assert!(refused.to_string().starts_with("the container has more files than 384 MiB"), "{refused}");
        let mut told = Told::default();
        told.changes("a", &None, &large).unwrap();
        told.changes("a", &large, &large).unwrap();
        told.changes("b", &None, &large).unwrap();
        assert_eq!(told.changes("c", &None, &large), Err(TooMuch));
        told.changes("a", &large, &None).unwrap();
    }
}
