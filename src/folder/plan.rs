//! What must be done so that a container's directory holds what is here. Pure: listings in, paths out.

use std::collections::{BTreeMap, BTreeSet};

use ksync_tree::{DifferenceKind, Entry, Kind, differences};

use crate::base::Base;

/// Container-only files above which nothing is pulled unasked.
const PULL_FILES: usize = 1000;
/// Container-only bytes above which nothing is pulled unasked.
const PULL_BYTES: u64 = 50 << 20;
/// Fewer deletions than this are never doubted.
const DOUBT_FROM: usize = 20;

/// The way to equal trees.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Here, and missing or different there: goes there.
    pub(super) send: Vec<String>,
    /// Was equal, and only the container's changed since: comes here.
    pub(super) take: Vec<String>,
    /// Was equal, and was deleted here since: is deleted there.
    pub(super) remove: Vec<String>,
    /// Only in the container, and never seen here.
    pub(super) extra: Vec<Entry>,
    /// A directory in one place and something else in the other: nobody's content is overwritten for the other.
    pub(super) clashes: Vec<String>,
}

impl Plan {
    /// Whether the container holds what is here.
    pub(super) fn is_equal(&self) -> bool {
        self.send.is_empty() && self.take.is_empty() && self.remove.is_empty()
    }

    /// A sentence when so much of what was in sync is gone here that it may be a mistake: a disk that is not
    /// mounted looks like that.
    pub(super) fn doubt(&self, base: Option<&Base>) -> Option<String> {
        let (gone, known) = (self.remove.len(), base.map_or(0, |base| base.entries.len()));
        (gone >= DOUBT_FROM && gone * 2 > known).then(|| {
            format!(
                "{gone} of {known} entries that were in sync are gone here; put them back (is a disk not mounted?), \
                 or delete the spec and create it again"
            )
        })
    }
}

/// Compares a local listing with that of the container `id`. Without a base, and in a container that is not the
/// one the base knows, local content wins where both sides differ.
pub(super) fn plan(local: &[Entry], remote: &[Entry], base: Option<&Base>, id: &str) -> Plan {
    let index = |entries| -> BTreeMap<&str, &Entry> { by_path(entries) };
    let (here, there) = (index(local), index(remote));
    let known = index(base.map_or(&[], |base| &base.entries));
    let same_container = base.is_some_and(|base| base.two_way.as_deref() == Some(id));
    let mut plan = Plan::default();
    let mut gone_here = BTreeSet::new();
    for difference in differences(local, remote) {
        let path = difference.path.as_str();
        let (ours, theirs, was) =
            (here.get(path).copied(), there.get(path).copied(), known.get(path).copied());
        let is_dir = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.kind == Kind::Dir);
        match difference.kind {
            DifferenceKind::OnlyInB => {
                let edited_there = same_container && !unchanged(theirs, was);
                if was.is_some() && !edited_there {
                    gone_here.insert(difference.path);
                } else if let Some(theirs) = theirs {
                    plan.extra.push(theirs.clone());
                }
            }
            DifferenceKind::Kind if is_dir(ours) || is_dir(theirs) => plan.clashes.push(difference.path),
            DifferenceKind::Mtime if is_dir(ours) => {}
            _ if same_container && !is_dir(ours) && unchanged(ours, was) && theirs.is_some() => {
                plan.take.push(difference.path);
            }
            _ => plan.send.push(difference.path),
        }
    }
    // A directory that holds something new over there stays.
    let holds_extra = |dir: &str| plan.extra.iter().any(|entry| is_below(&entry.path, dir));
    let (kept, removed): (Vec<String>, Vec<String>) =
        gone_here.into_iter().partition(|path| holds_extra(path));
    plan.remove = removed;
    plan.extra.extend(kept.iter().filter_map(|path| there.get(path.as_str())).map(|entry| (*entry).clone()));
    plan.extra.sort_by(|a, b| ksync_tree::compare(&a.path, &b.path));
    plan
}

fn by_path(entries: &[Entry]) -> BTreeMap<&str, &Entry> {
    entries.iter().map(|entry| (entry.path.as_str(), entry)).collect()
}

/// Whether an entry is still what it was. Content is judged by size and mtime, which both sides share to the
/// nanosecond.
fn unchanged(now: Option<&Entry>, was: Option<&Entry>) -> bool {
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

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether so much exists only in the container that a person is asked first: files and bytes.
pub(super) fn too_much(extra: &[Entry]) -> Option<(usize, u64)> {
    let files = extra.iter().filter(|entry| entry.kind != Kind::Dir).count();
    let bytes = extra.iter().map(|entry| entry.size).sum();
    (files > PULL_FILES || bytes > PULL_BYTES).then_some((files, bytes))
}

#[cfg(test)]
mod tests {
    use ksync_tree::{Entry, Kind};

    use super::{Plan, plan, too_much};
    use crate::base::Base;

    fn file(path: &str, content: u8) -> Entry {
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

    fn dir(path: &str, mtime_ns: i64) -> Entry {
        Entry { kind: Kind::Dir, size: 0, mtime_ns, mode: 0o755, hash: None, ..file(path, 0) }
    }

    fn base(entries: Vec<Entry>) -> Base {
        Base { entries, two_way: Some("same".into()) }
    }

    fn extra(plan: &Plan) -> Vec<&str> {
        plan.extra.iter().map(|entry| entry.path.as_str()).collect()
    }

    #[test]
    fn without_a_base_local_content_wins_and_extra_files_stay() {
        let plan = plan(
            &[file("a", 1), file("b", 1), file("c", 1)],
            &[file("b", 2), file("c", 1), file("d", 1)],
            None,
            "",
        );
        assert_eq!(plan.send, ["a", "b"]);
        assert_eq!(extra(&plan), ["d"]);
        assert!(!plan.is_equal());
    }

    #[test]
    fn what_was_deleted_here_is_deleted_there_and_does_not_come_back() {
        let base = base(vec![dir("d", 0), file("d/old", 1), file("gone", 1)]);
        // A fresh container has the image's own version of it: that is no edit.
        let fresh = plan(
            &[],
            &[dir("d", 9), file("d/old", 7), file("gone", 1), file("new", 1)],
            Some(&base),
            "fresh",
        );
        assert_eq!(fresh.remove, ["d", "d/old", "gone"]);
        assert_eq!(extra(&fresh), ["new"]);
        // In the container that the base knows it is one, and an edit beats a deletion.
        let same = plan(&[], &[dir("d", 9), file("d/old", 7), file("gone", 1)], Some(&base), "same");
        assert_eq!(same.remove, ["gone"]);
        assert_eq!(extra(&same), ["d", "d/old"]);
    }

    #[test]
    fn a_containers_edit_while_apart_comes_here_unless_it_was_edited_here_too() {
        let base = base(vec![file("a", 1), file("b", 1)]);
        let (here, there) = ([file("a", 1), file("b", 3)], [file("a", 2), file("b", 2)]);
        let same = plan(&here, &there, Some(&base), "same");
        assert_eq!((same.take, same.send), (vec!["a".to_owned()], vec!["b".to_owned()]));
        let fresh = plan(&here, &there, Some(&base), "fresh");
        assert_eq!((fresh.take, fresh.send), (vec![], vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_base_that_is_gone_here_as_a_whole_is_doubted() {
        let all: Vec<Entry> = (0..30).map(|n| file(&format!("f{n:02}"), 1)).collect();
        let base = base(all.clone());
        let some = plan(&all[..20], &all, Some(&base), "fresh");
        assert_eq!((some.remove.len(), some.doubt(Some(&base))), (10, None));
        assert!(plan(&[], &all, Some(&base), "fresh").doubt(Some(&base)).is_some());
    }

    #[test]
    fn a_file_against_a_directory_is_a_clash() {
        let plan = plan(&[file("x", 1)], &[dir("x", 0), file("x/y", 1)], None, "");
        assert_eq!((plan.clashes, plan.send), (vec!["x".to_owned()], vec![]));
    }

    #[test]
    fn times_of_directories_do_not_matter_and_modes_do() {
        let mut open = dir("d", 2);
        assert!(plan(&[dir("d", 1)], &[open.clone()], None, "").is_equal());
        open.mode = 0o777;
        assert_eq!(plan(&[dir("d", 1)], &[open], None, "").send, ["d"]);
    }

    #[test]
    fn much_that_is_only_there_is_asked_about() {
        let big = Entry { size: 60 << 20, ..file("big", 1) };
        assert_eq!(too_much(&[big]), Some((1, 60 << 20)));
        assert_eq!(too_much(&[file("a", 1)]), None);
    }
}
