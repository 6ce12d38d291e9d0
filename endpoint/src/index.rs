//! What is known to be in a directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use ksync_merge::{Digest, State};
use ksync_tree::{Entry, Exact, Kind};

use crate::meter::{self, Share};

/// For each file with a name elsewhere, so many are considered whose names may all be here.
const CONSIDERED: usize = 8;

/// An entry, and what tells that it is still the same.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) entry: Arc<Entry>,
    pub(crate) exact: Exact,
}

/// What is known to be in a directory, by path.
#[derive(Debug, Default)]
pub(crate) struct Index {
    seen: BTreeMap<Arc<str>, Seen>,
    /// Paths of files by their inode: one may have several names.
    names: BTreeSet<(u64, Arc<str>)>,
    /// Inodes of files that have more than one name, here or elsewhere.
    linked: BTreeSet<u64>,
    digest: Digest,
    /// What all this takes of memory.
    pub(crate) share: Share,
}

impl Index {
    pub(crate) fn get(&self, path: &str) -> Option<&Seen> {
        self.seen.get(path)
    }

    pub(crate) fn state(&self, path: &str) -> State {
        self.get(path).map(|seen| Arc::clone(&seen.entry))
    }

    pub(crate) fn is_dir(&self, path: &str) -> bool {
        self.get(path).is_some_and(|seen| seen.entry.kind == Kind::Dir)
    }

    /// Whoever has no more memory for it is full from then on.
    pub(crate) fn put(&mut self, path: &str, entry: Arc<Entry>, exact: Exact) {
        let was = self.get(path).map_or(0, |seen| meter::size(path, &seen.entry));
        let is = meter::size(path, &entry);
        if is > was && !self.share.take(is - was) {
            return;
        }
        self.share.give_back(was.saturating_sub(is));
        self.digest.add(path, &entry);
        let known = self.seen.get_key_value(path).map(|(path, _)| Arc::clone(path));
        let path = known.unwrap_or_else(|| Arc::from(path));
        if entry.kind == Kind::File {
            self.names.insert((exact.ino, Arc::clone(&path)));
            if exact.links > 1 {
                self.linked.insert(exact.ino);
            } else {
                self.linked.remove(&exact.ino);
            }
        }
        let is = (entry.kind, exact.ino);
        if let Some(was) = self.seen.insert(Arc::clone(&path), Seen { entry, exact }) {
            self.digest.remove(&path, &was.entry);
            if (was.entry.kind, was.exact.ino) != is {
                self.forget_name(was.exact.ino, path);
            }
        }
    }

    pub(crate) fn remove(&mut self, path: &str) -> bool {
        let Some((path, seen)) = self.seen.remove_entry(path) else { return false };
        self.digest.remove(&path, &seen.entry);
        self.share.give_back(meter::size(&path, &seen.entry));
        self.forget_name(seen.exact.ino, path);
        true
    }

    fn forget_name(&mut self, ino: u64, path: Arc<str>) {
        self.names.remove(&(ino, path));
        if self.linked.contains(&ino) && self.names_of(ino).next().is_none() {
            self.linked.remove(&ino);
        }
    }

    fn names_of(&self, ino: u64) -> impl Iterator<Item = &Arc<str>> {
        let from = (ino, Arc::from(""));
        self.names.range(from..).take_while(move |(of, _)| *of == ino).map(|(_, path)| path)
    }

    /// All names of the file with this inode.
    pub(crate) fn names(&self, ino: u64) -> Vec<Arc<str>> {
        self.names_of(ino).cloned().collect()
    }

    /// A name each of up to `most` files that have names elsewhere, too: those after the inode `last`, then from the first on.
    /// Returns also where to go on.
    pub(crate) fn linked_after(&self, last: u64, most: usize) -> (Vec<Arc<str>>, u64) {
        let turn = self.linked.range((Bound::Excluded(last), Bound::Unbounded));
        let (mut paths, mut at) = (Vec::new(), last);
        for ino in turn.chain(self.linked.range(..=last)).take(most * CONSIDERED) {
            at = *ino;
            let Some(first) = self.names_of(*ino).next() else { continue };
            let links = self.get(first).map_or(0, |seen| seen.exact.links);
            if links > self.names_of(*ino).count() as u64 {
                paths.push(Arc::clone(first));
            }
            if paths.len() == most {
                break;
            }
        }
        (paths, at)
    }

    /// All that is below `path`, the root's being empty; parents before children.
    pub(crate) fn below(&self, path: &str) -> impl Iterator<Item = (&Arc<str>, &Seen)> {
        let (from, to) = if path.is_empty() {
            (Bound::Unbounded, Bound::Unbounded)
        } else {
            // `0` is the byte after `/`.
            (
                Bound::Included(Arc::<str>::from(format!("{path}/"))),
                Bound::Excluded(Arc::<str>::from(format!("{path}0"))),
            )
        };
        self.seen.range::<Arc<str>, _>((from, to))
    }

    /// What is in the directory `path` itself.
    pub(crate) fn children(&self, path: &str) -> Vec<Arc<str>> {
        let depth = if path.is_empty() { 0 } else { path.len() + 1 };
        let mut children = Vec::new();
        let mut skip: Option<Arc<str>> = None;
        loop {
            let from = match &skip {
                None if path.is_empty() => Bound::Unbounded,
                None => Bound::Included(Arc::<str>::from(format!("{path}/"))),
                // Past all that is below the child before.
                Some(child) => Bound::Included(Arc::clone(child)),
            };
            let to = if path.is_empty() {
                Bound::Unbounded
            } else {
                Bound::Excluded(Arc::<str>::from(format!("{path}0")))
            };
            let mut range = self.seen.range::<Arc<str>, _>((from, to));
            let Some((next, seen)) = range.next() else { return children };
            // What is below a child may come before its siblings (`a/x` after `a-b`), so a child is known by its depth.
            let name = &next[depth..];
            if let Some(at) = name.find('/') {
                skip = Some(Arc::from(format!("{}0", &next[..depth + at])));
                continue;
            }
            children.push(Arc::clone(next));
            let _ = seen;
            skip = Some(Arc::from(format!("{next}\0")));
        }
    }

    /// The first directory after `path`, the root being first of all; none after the last.
    pub(crate) fn dir_after(&self, path: &str) -> Option<Arc<str>> {
        let range = self.seen.range::<str, _>((Bound::Excluded(path), Bound::Unbounded));
        range.filter(|(_, seen)| seen.entry.kind == Kind::Dir).map(|(path, _)| Arc::clone(path)).next()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Seen)> {
        self.seen.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind) -> Arc<Entry> {
        Arc::new(Entry {
            path: String::new(),
            kind,
            size: 0,
            mtime_ns: 0,
            mode: 0o755,
            hash: None,
            target: None,
        })
    }

    fn index(paths: &[&str]) -> Index {
        let mut index = Index::default();
        for path in paths {
            let exact = Exact { size: 0, mtime_ns: 0, ctime_ns: 0, ino: 0, links: 1 };
            let kind = if path.contains('f') { Kind::File } else { Kind::Dir };
            index.put(path, entry(kind), exact);
        }
        index
    }

    #[test]
    fn children_are_those_of_one_directory() {
        let index = index(&["a", "a-f", "a/b", "a/b/f", "a/b0f", "a/f", "b", "b/f"]);
        let children = |path: &str| index.children(path).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(children(""), ["a", "a-f", "b"]);
        assert_eq!(children("a"), ["a/b", "a/b0f", "a/f"]);
        assert_eq!(children("a/b"), ["a/b/f"]);
        assert_eq!(children("c"), Vec::<String>::new());
        assert_eq!(index.dir_after("").as_deref(), Some("a"));
        assert_eq!(index.dir_after("a").as_deref(), Some("a/b"));
        assert_eq!(index.dir_after("b"), None);
    }

    #[test]
    fn files_with_names_elsewhere_take_turns() {
        let mut index = Index::default();
        let mut put = |path: &str, ino: u64, links: u64| {
            index.put(path, entry(Kind::File), Exact { size: 0, mtime_ns: 0, ctime_ns: 0, ino, links });
        };
        // Both names of 2 are here; one more of 3 and of 5 each is not.
        for (path, ino, links) in
            [("a", 1, 1), ("b", 2, 2), ("c", 2, 2), ("d", 3, 3), ("e", 3, 3), ("f", 5, 2), ("g", 7, 2)]
        {
            put(path, ino, links);
        }
        put("g", 7, 1);
        let after = |index: &Index, last: u64, most: usize| {
            let (paths, last) = index.linked_after(last, most);
            (paths.iter().map(ToString::to_string).collect::<String>(), last)
        };
        assert_eq!(after(&index, 0, 9), ("df".to_owned(), 5));
        assert_eq!(after(&index, 0, 1), ("d".to_owned(), 3));
        assert_eq!(after(&index, 3, 1), ("f".to_owned(), 5));
        assert_eq!(after(&index, 5, 1), ("d".to_owned(), 3));
        index.remove("c");
        assert_eq!(after(&index, 5, 9), ("bdf".to_owned(), 5), "one of its names has left");
        for path in ["b", "d", "e"] {
            index.remove(path);
        }
        index.put("f", entry(Kind::Symlink), Exact { size: 0, mtime_ns: 0, ctime_ns: 0, ino: 9, links: 1 });
        assert_eq!((after(&index, 0, 9).0, index.linked.len()), (String::new(), 0));
    }

    #[test]
    fn the_digest_is_of_what_is_there_whatever_came_before() {
        let (mut one, two) = (index(&["a", "a/f"]), index(&["a/f", "a"]));
        assert_eq!(one.digest(), two.digest());
        one.remove("a/f");
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.digest(), index(&["a"]).digest());
        one.put("a/f", entry(Kind::Symlink), Exact { size: 0, mtime_ns: 0, ctime_ns: 0, ino: 0, links: 1 });
        assert_ne!(one.digest(), two.digest());
        one.remove("a/f");
        one.remove("a");
        assert_eq!(one.digest(), Digest::default());
    }
}
