//! What was here lately: the versions of files that scans have covered, which the base, always some seconds old, does not
//! know yet. Without it, what was edited here twice since the base was written looks like both sides' edit after an
//! interruption, and what was made and deleted since comes back.
//!
//! Invariant: a version is held only when the file was the same before and after a scan that the container has
//! acknowledged, and nothing has covered its path since.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use ksync_tree::{Entry, Kind, Root, stat_entry};

use crate::revision::Revision;

/// Versions that are remembered. To forget one costs a conflict that nobody made.
const MOST: usize = 10_000;

/// The versions, by folder.
#[derive(Debug, Default)]
pub(crate) struct RecentVersions(Mutex<Past>);

#[derive(Debug, Default)]
struct Past {
    scans: VecDeque<Scan>,
    /// What each container has acknowledged.
    acknowledged: BTreeMap<String, Revision>,
}

#[derive(Debug)]
enum Scan {
    /// Of a file; the version of it that was scanned, if it is known for sure.
    File { at: Revision, seen: Vec<Entry>, sure: bool },
    /// Of everything at or below a path; empty for all. Nothing is known of what it has found.
    Below(String),
}

/// What is known for one container.
#[derive(Debug, Default)]
pub(crate) struct KnownVersions {
    /// All versions that were here, by path: who has one of them has it from here, or brought it here.
    pub versions: BTreeMap<String, Vec<Entry>>,
    /// What the container held last.
    pub held: BTreeMap<String, Entry>,
    /// Whether the container has held anything.
    pub seen: bool,
}

impl KnownVersions {
    /// Whether `entry` was here lately.
    pub(crate) fn was_here(&self, entry: &Entry) -> bool {
        self.versions.get(&entry.path).is_some_and(|all| all.iter().any(|version| is_same(version, entry)))
    }
}

/// By what both sides share to the nanosecond; the content of one is not read for it.
fn is_same(a: &Entry, b: &Entry) -> bool {
    (a.kind, a.size, a.mtime_ns, a.mode, &a.target) == (b.kind, b.size, b.mtime_ns, b.mode, &b.target)
}

fn is_dir(entry: &Entry) -> bool {
    entry.kind == Kind::Dir
}

/// What is at `paths` now; what can't be looked at is as good as missing.
pub(in crate::local) fn look(root: &Root, paths: &[String]) -> Vec<Option<Entry>> {
    paths.iter().map(|path| stat_entry(root, path, false).ok().flatten()).collect()
}

impl RecentVersions {
    /// A scan of `paths` has covered what was there `before` and `after` it, and took our index to `at`.
    pub(in crate::local) fn scanned(
        &self,
        paths: &[String],
        before: Vec<Option<Entry>>,
        after: Vec<Option<Entry>>,
        at: Revision,
    ) {
        let mut past = self.past();
        if paths.is_empty() {
            past.scans.push_back(Scan::Below(String::new()));
        }
        for ((path, before), after) in paths.iter().zip(before).zip(after) {
            let scan = match (before, after) {
                // What went was held until then.
                (None, None) => continue,
                (Some(one), other) | (other, Some(one))
                    if is_dir(&one) || other.as_ref().is_some_and(is_dir) =>
                {
                    Scan::Below(path.clone())
                }
                (Some(before), Some(after)) if is_same(&before, &after) => {
                    Scan::File { at, seen: vec![after], sure: true }
                }
                (before, after) => {
                    Scan::File { at, seen: before.into_iter().chain(after).collect(), sure: false }
                }
            };
            past.scans.push_back(scan);
        }
        let surplus = past.scans.len().saturating_sub(MOST);
        past.scans.drain(..surplus);
    }

    /// The container has everything up to `at`.
    pub(crate) fn acknowledged(&self, container: &str, at: Revision) {
        self.past().acknowledged.insert(container.to_owned(), at);
    }

    /// What is known for `container`. One that has held nothing yet counts as the one that has held most.
    pub(crate) fn known(&self, container: &str) -> KnownVersions {
        let past = self.past();
        let own = past.acknowledged.get(container).copied();
        let until = own.or_else(|| past.acknowledged.values().max().copied());
        let mut known = KnownVersions { seen: own.is_some(), ..KnownVersions::default() };
        for scan in &past.scans {
            match scan {
                Scan::Below(path) if path.is_empty() => known.held.clear(),
                Scan::Below(dir) => known.held.retain(|path, _| !ksync_tree::covers(dir, path)),
                Scan::File { at, seen, sure } => {
                    for entry in seen {
                        let held = *sure && until.is_some_and(|until| *at <= until);
                        if held {
                            known.held.insert(entry.path.clone(), entry.clone());
                        } else if !sure {
                            known.held.remove(&entry.path);
                        }
                        known.versions.entry(entry.path.clone()).or_default().push(entry.clone());
                    }
                }
            }
        }
        known
    }

    fn past(&self) -> std::sync::MutexGuard<'_, Past> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use ksync_tree::Root;

    use super::{Entry, RecentVersions, Revision, look};

    fn at(process: u64, sequence: i64) -> Revision {
        Revision { process, sequence }
    }

    /// A folder, and scans of it.
    struct Folder {
        dir: tempfile::TempDir,
        recent: RecentVersions,
        sequence: i64,
    }

    impl Folder {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), recent: RecentVersions::default(), sequence: 0 }
        }

        fn path(&self) -> &Path {
            self.dir.path()
        }

        fn at(&self, path: &str) -> Entry {
            look(&Root::open(self.path()).unwrap(), &[path.to_owned()]).remove(0).unwrap()
        }

        /// Scans `paths`, during which `meanwhile` happens.
        fn scan(&mut self, paths: &[&str], meanwhile: impl FnOnce(&Path)) -> i64 {
            let (root, paths) =
                (Root::open(self.path()).unwrap(), paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
            let before = look(&root, &paths);
            meanwhile(self.path());
            self.sequence += 1;
            self.recent.scanned(&paths, before, look(&root, &paths), at(1, self.sequence));
            self.sequence
        }

        fn write(&mut self, path: &str, text: &str) -> (Entry, i64) {
            fs::write(self.path().join(path), text).unwrap();
            let sequence = self.scan(&[path], |_| {});
            (self.at(path), sequence)
        }
    }

    #[test]
    fn a_version_is_held_when_its_scan_is_acknowledged_and_was_here_at_once() {
        let mut folder = Folder::new();
        let (one, first) = folder.write("f", "1");
        let (two, second) = folder.write("f", "22");
        let known = folder.recent.known("c");
        assert!(known.held.is_empty() && !known.seen && known.was_here(&one) && known.was_here(&two));
        assert!(!known.was_here(&Entry { size: 7, ..one.clone() }));
        folder.recent.acknowledged("c", at(1, first));
        assert_eq!(folder.recent.known("c").held, [("f".to_owned(), one)].into());
        folder.recent.acknowledged("c", at(1, second));
        let known = folder.recent.known("c");
        assert_eq!((known.held, known.seen), ([("f".to_owned(), two.clone())].into(), true));
        // A later process counts from the beginning.
        folder.recent.acknowledged("c", at(2, 1));
        assert_eq!(folder.recent.known("c").held.len(), 1);
        // A fresh one: what the others have held.
        let fresh = folder.recent.known("fresh");
        assert_eq!((fresh.held, fresh.seen), ([("f".to_owned(), two)].into(), false));
    }

    #[test]
    fn what_changed_during_its_scan_is_held_by_nobody() {
        let mut folder = Folder::new();
        let (one, _) = folder.write("f", "1");
        let sequence = folder.scan(&["f"], |dir| fs::write(dir.join("f"), "22").unwrap());
        folder.recent.acknowledged("c", at(1, sequence));
        let known = folder.recent.known("c");
        assert!(known.held.is_empty() && known.was_here(&one) && known.was_here(&folder.at("f")));
    }

    #[test]
    fn what_went_was_held_until_then_and_of_what_a_wider_scan_found_nothing_is_known() {
        let mut folder = Folder::new();
        fs::create_dir(folder.path().join("d")).unwrap();
        for path in ["d/f", "g"] {
            folder.write(path, "1");
        }
        fs::remove_file(folder.path().join("g")).unwrap();
        let sequence = folder.scan(&["g"], |_| {});
        folder.recent.acknowledged("c", at(1, sequence));
        assert_eq!(folder.recent.known("c").held.into_keys().collect::<Vec<_>>(), ["d/f", "g"]);
        folder.scan(&["d"], |_| {});
        assert_eq!(folder.recent.known("c").held.into_keys().collect::<Vec<_>>(), ["g"]);
        folder.scan(&[], |_| {});
        let known = folder.recent.known("c");
        assert!(known.held.is_empty() && known.was_here(&folder.at("d/f")));
    }
}
