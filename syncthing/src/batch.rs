//! Paths that wait for a scan, gathered while another scan is under way (group commit).
//!
//! The first change is scanned at once, everything that happens during its scan goes together after it:
//! no fixed delay, and bursts batch themselves.

use std::collections::BTreeSet;

/// Paths in one directory above which the directory is scanned instead.
const SIBLINGS: usize = 128;
/// Paths in all above which the whole folder is scanned instead.
const MOST: usize = 512;

/// The same for a [`Batch::fine`].
const FINE: usize = 4096;
/// The bytes of all paths above which none of them is named: they go in the addresses of requests, encoded three-fold at
/// worst, and each request is a scan of its own.
const BYTES: usize = 200_000;

/// Paths relative to a folder's root, `/` between names.
#[derive(Debug, Default)]
pub struct Batch {
    paths: BTreeSet<String>,
    whole: bool,
    fine: bool,
}

impl Batch {
    /// One that scans a directory for the paths in it only when there are thousands.
    pub fn fine() -> Self {
        Self { fine: true, ..Self::default() }
    }

    /// Adds a path; an empty one is the root, so the whole folder.
    pub fn add(&mut self, path: impl Into<String>) {
        let path = path.into();
        if path.is_empty() {
            self.add_all();
        } else if !self.whole {
            self.paths.insert(path);
        }
    }

    /// Adds the whole folder.
    pub fn add_all(&mut self) {
        self.whole = true;
        self.paths.clear();
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        !self.whole && self.paths.is_empty()
    }

    /// Takes what waits as the `sub`s of one scan; none of them means the whole folder.
    ///
    /// A path below another one is dropped, and many in one directory become the directory.
    pub fn take(&mut self) -> Vec<String> {
        let paths = std::mem::take(&mut self.paths);
        if std::mem::take(&mut self.whole) {
            return Vec::new();
        }
        let mut paths = without_nested(paths);
        if self.fine && paths.len() <= FINE && bytes(&paths) <= BYTES {
            return paths.into_iter().collect();
        }
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for path in &paths {
            *counts.entry(parent(path).to_owned()).or_default() += 1;
        }
        let crowded: BTreeSet<String> =
            counts.into_iter().filter(|(_, n)| *n > SIBLINGS).map(|(dir, _)| dir).collect();
        if crowded.contains("") {
            return Vec::new();
        }
        if !crowded.is_empty() {
            paths.extend(crowded);
            paths = without_nested(paths);
        }
        if paths.len() > MOST || bytes(&paths) > BYTES { Vec::new() } else { paths.into_iter().collect() }
    }
}

fn bytes(paths: &BTreeSet<String>) -> usize {
    paths.iter().map(String::len).sum()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Leaves out every path that has an ancestor in the set.
fn without_nested(paths: BTreeSet<String>) -> BTreeSet<String> {
    let covered = |path: &str| {
        let mut above = parent(path);
        while !above.is_empty() {
            if paths.contains(above) {
                return true;
            }
            above = parent(above);
        }
        false
    };
    paths.iter().filter(|path| !covered(path)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::Batch;

    fn taken(paths: &[&str]) -> Vec<String> {
        let mut batch = Batch::default();
        for path in paths {
            batch.add(*path);
        }
        batch.take()
    }

    #[test]
    fn nested_paths_are_covered_by_their_ancestor() {
        assert_eq!(taken(&["a/b", "a", "a-b", "c/d/e", "c/d"]), ["a", "a-b", "c/d"]);
    }

    #[test]
    fn a_crowded_directory_is_scanned_as_one() {
        let names: Vec<String> = (0..200).map(|n| format!("d/{n}")).collect();
        let mut paths: Vec<&str> = names.iter().map(String::as_str).collect();
        paths.push("e/x");
        assert_eq!(taken(&paths), ["d", "e/x"]);
    }

    #[test]
    fn a_fine_one_names_each_path_as_long_as_they_fit() {
        let take = |count: usize, name: &str| {
            let mut batch = Batch::fine();
            (0..count).for_each(|n| batch.add(format!("d/{n}{name}")));
            batch.take()
        };
        assert_eq!(take(4096, "").len(), 4096);
        assert_eq!(take(4097, ""), ["d"]);
        assert_eq!(take(2000, &"x".repeat(100)), ["d"]);
    }

    #[test]
    fn paths_that_are_long_in_sum_are_the_whole() {
        let take = |length: usize| {
            let mut batch = Batch::default();
            (0..500).for_each(|n| batch.add(format!("{n:03}/{}", "x".repeat(length - 4))));
            batch.take().len()
        };
        assert_eq!((take(400), take(401)), (500, 0));
    }

    #[test]
    fn a_crowded_root_and_the_root_itself_are_the_whole() {
        let names: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let paths: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(taken(&paths), Vec::<String>::new());
        let mut batch = Batch::default();
        batch.add("");
        assert!(!batch.is_empty());
        assert_eq!(batch.take(), Vec::<String>::new());
        assert!(batch.is_empty());
    }
}
