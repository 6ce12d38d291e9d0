//! What must be done so that a container's directory holds what is here. Pure: listings in, paths out.

mod entries;
mod first_pull;
mod proof;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod sample;

use std::collections::BTreeSet;

use ksync_tree::{DifferenceKind, Entry, Kind, Skipped, covers, differences, is_below};

pub(super) use entries::{by_path, unchanged};
pub(super) use first_pull::{too_much, tops};
pub(super) use proof::{missing, stale};

use crate::{
    base::Base,
    config::{Direction, Initial},
    local::KnownVersions,
};

/// Fewer deletions than this are never doubted.
const DOUBT_FROM: usize = 20;

/// The way to equal trees.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Here, and missing or different there: goes there.
    pub(super) send: Vec<String>,
    /// Of those, files whose content there is nobody's copy: it is kept before it is overwritten.
    pub(super) losers: Vec<String>,
    /// Was equal, and only the container's changed since: comes here. As it is here.
    pub(super) take: Vec<Entry>,
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
    pub(super) fn doubt(&self, local: &[Entry], base: Option<&Base>) -> Option<String> {
        let (gone, known) = (self.remove.len(), base.map_or(0, |base| base.entries.len()));
        let much = gone >= DOUBT_FROM && gone * 2 > known;
        let all = local.is_empty() && gone > 0 && known > 1;
        (much || all).then(|| {
            format!(
                "{gone} of {known} entries that were in sync are gone here; put them back (is a disk not mounted?), \
                 or delete the spec and create it again"
            )
        })
    }
}

/// The two sides of a merge, and what is known of both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides<'a> {
    /// What is here.
    pub(super) local: &'a [Entry],
    /// What is here and could not be listed.
    pub(super) unlisted: &'a [Skipped],
    /// What is in the container.
    pub(super) remote: &'a [Entry],
    /// Id of the container.
    pub(super) container: &'a str,
    /// What was last equal on both sides; none before the first sync.
    pub(super) base: Option<&'a Base>,
    /// What was here lately.
    pub(super) recent: &'a KnownVersions,
}

/// Which side wins a first sync.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Which way changes go.
    pub(super) direction: Direction,
    /// What wins at the first sync, if changes go both ways.
    pub(super) initial: Initial,
    /// Whether this is the first container of its local path.
    pub(super) first_container: bool,
}

impl Policy {
    /// Whether the container's content wins a first sync.
    fn takes(self, ours: &Entry, theirs: &Entry) -> bool {
        // One-way, nothing ever comes here. What a container wins it wins once: several would undo each other.
        if self.direction != Direction::Both || !self.first_container {
            return false;
        }
        match self.initial {
            Initial::Local => false,
            Initial::Remote => true,
            Initial::Newest => theirs.mtime_ns > ours.mtime_ns,
        }
    }
}

/// What is known of the container itself.
struct Standing {
    /// It held the base.
    seen: bool,
    /// It was the two-way one when the base was written: its edits are wanted here.
    two_way: bool,
    /// Its content may exist nowhere else.
    precious: bool,
}

impl Sides<'_> {
    fn standing(self) -> Standing {
        let seen = self.base.is_some_and(|base| base.seen.contains(self.container));
        let two_way = self.base.is_some_and(|base| base.two_way.as_deref() == Some(self.container));
        // A fresh container holds what its image brings, of which a copy can be had. Without a base nobody can tell.
        Standing { seen, two_way, precious: self.base.is_none() || seen }
    }
}

/// Merges both sides. Local content wins, except where only the container's has changed since the base and the container
/// was the two-way one, or where `policy` lets the container win a first sync.
pub(super) fn plan(sides: Sides<'_>, policy: Policy) -> Plan {
    let Sides { local, unlisted, remote, base, recent, .. } = sides;
    let Standing { seen, two_way, precious } = sides.standing();
    let (here, there) = (by_path(local), by_path(remote));
    let in_base = by_path(base.map_or(&[], |base| &base.entries));
    let mut plan = Plan::default();
    let mut gone_here = BTreeSet::new();
    for difference in differences(local, remote) {
        let path = difference.path.as_str();
        // An entry that could not be listed here may exist, so it counts neither as gone nor as different.
        if unlisted.iter().any(|skipped| covers(&skipped.path, path)) {
            continue;
        }
        let (ours, theirs, was) =
            (here.get(path).copied(), there.get(path).copied(), in_base.get(path).copied());
        // A version that was here lately is older than the one that is here now, and no edit of the container's.
        let from_here = theirs.is_some_and(|theirs| recent.was_here(theirs));
        let is_dir = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.kind == Kind::Dir);
        match difference.kind {
            DifferenceKind::OnlyInB => {
                // The base proves that it was here: it was deleted here since. In a container that held the base it must
                // also be what it was then: an edit there beats a deletion here.
                let deleted = was.is_some() && (!seen || unchanged(theirs, was));
                // A fresh container brings along again what was deleted here long ago. One that held the base had it
                // deleted then, and has made it anew.
                let once = !seen && base.is_some_and(|base| base.gone.contains(path));
                if deleted || once {
                    gone_here.insert(difference.path);
                } else if let Some(theirs) = theirs {
                    plan.extra.push(theirs.clone());
                }
            }
            // To replace a directory would delete all that is in it, on one side or on the other: a person decides.
            DifferenceKind::Kind if is_dir(ours) || is_dir(theirs) => plan.clashes.push(difference.path),
            // A directory's mtime follows from what is made and removed in it.
            DifferenceKind::Mtime if is_dir(ours) => {}
            kind => match (ours, theirs) {
                // Ours is still the base's, so only the container's has changed, and its changes come here; not where
                // it has a version that was here lately, which is an older one of ours.
                (Some(ours), Some(_))
                    if two_way && !from_here && ours.kind != Kind::Dir && unchanged(Some(ours), was) =>
                {
                    plan.take.push(ours.clone());
                }
                // Without a base nobody can tell who has changed it: `--initial` says who wins.
                (Some(ours), Some(theirs))
                    if base.is_none() && ours.kind != Kind::Dir && policy.takes(ours, theirs) =>
                {
                    plan.take.push(ours.clone());
                }
                _ => {
                    // Content that is neither a version of ours nor the base's is the container's own, and is about to be
                    // overwritten: it is kept, unless an image or nothing is all that is lost.
                    let edited = kind == DifferenceKind::Content && !from_here && !unchanged(theirs, was);
                    if precious
                        && edited
                        && theirs.is_some_and(|theirs| theirs.kind == Kind::File && theirs.size > 0)
                    {
                        plan.losers.push(difference.path.clone());
                    }
                    plan.send.push(difference.path);
                }
            },
        }
    }
    // A directory that holds something new over there stays: to remove it would remove that, too.
    let holds_extra = |dir: &str| plan.extra.iter().any(|entry| is_below(dir, &entry.path));
    let (kept, removed): (Vec<String>, Vec<String>) =
        gone_here.into_iter().partition(|path| holds_extra(path));
    plan.remove = removed;
    plan.extra.extend(kept.iter().filter_map(|path| there.get(path.as_str())).map(|entry| (*entry).clone()));
    plan.extra.sort_by(|a, b| ksync_tree::compare(&a.path, &b.path));
    plan
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ksync_tree::{Entry, Skipped};

    use super::{
        Plan, Policy, Sides,
        sample::{dir, file},
    };
    use crate::{
        base::Base,
        config::{Direction, Initial},
        local::KnownVersions,
    };

    fn policy(initial: Initial) -> Policy {
        Policy { direction: Direction::Both, initial, first_container: true }
    }

    fn plan(local: &[Entry], remote: &[Entry], base: Option<&Base>, container: &str) -> Plan {
        let sides =
            Sides { local, unlisted: &[], remote, container, base, recent: &KnownVersions::default() };
        super::plan(sides, policy(Initial::Local))
    }

    fn base(entries: Vec<Entry>) -> Base {
        Base {
            entries,
            two_way: Some("same".into()),
            seen: ["same".to_owned()].into(),
            gone: BTreeSet::new(),
        }
    }

    fn extra(plan: &Plan) -> Vec<&str> {
        plan.extra.iter().map(|entry| entry.path.as_str()).collect()
    }

    #[test]
    fn without_a_base_local_content_wins_the_other_is_kept_and_extra_files_stay() {
        let plan = plan(
            &[file("a", 1), file("b", 1), file("c", 1)],
            &[file("b", 2), file("c", 1), file("d", 1)],
            None,
            "",
        );
        assert_eq!(
            (plan.send.clone(), plan.losers.clone()),
            (vec!["a".into(), "b".into()], vec!["b".into()])
        );
        assert_eq!(extra(&plan), ["d"]);
        assert!(!plan.is_equal());
    }

    #[test]
    fn the_first_sync_takes_what_was_asked_for() {
        let (here, there) = (
            [dir("d", 1), file("new", 3), file("old", 1), file("same", 2)],
            [dir("d", 2), file("new", 1), file("old", 3), file("same", 2)],
        );
        let known = KnownVersions::default();
        let sides =
            Sides { local: &here, unlisted: &[], remote: &there, container: "", base: None, recent: &known };
        let first = |initial| {
            let plan = super::plan(sides, policy(initial));
            let taken: Vec<String> = plan.take.into_iter().map(|entry| entry.path).collect();
            (taken, plan.send)
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(first(Initial::Local), (names(&[]), names(&["new", "old"])));
        assert_eq!(first(Initial::Remote), (names(&["new", "old"]), names(&[])));
        assert_eq!(first(Initial::Newest), (names(&["old"]), names(&["new"])));
        let empty = base(Vec::new());
        let later = Sides { container: "same", base: Some(&empty), ..sides };
        let later = super::plan(later, policy(Initial::Remote));
        assert_eq!((later.take, later.send), (vec![], names(&["new", "old"])));
        let one_way = Policy { direction: Direction::ToContainer, ..policy(Initial::Remote) };
        let second = Policy { first_container: false, ..policy(Initial::Remote) };
        for policy in [one_way, second] {
            assert_eq!(super::plan(sides, policy).take, [], "{policy:?}");
        }
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
        // In a container that the base knows it is one, and an edit beats a deletion.
        let same = plan(&[], &[dir("d", 9), file("d/old", 7), file("gone", 1)], Some(&base), "same");
        assert_eq!(same.remove, ["gone"]);
        assert_eq!(extra(&same), ["d", "d/old"]);
    }

    #[test]
    fn what_was_deleted_long_ago_does_not_come_back_with_a_new_container() {
        let base = base(vec![file("a", 1), file("gone", 1)]).next(
            vec![file("a", 1)],
            None,
            ["same".to_owned()].into(),
        );
        let there = [file("a", 1), file("gone", 5)];
        assert_eq!(plan(&[file("a", 1)], &there, Some(&base), "fresh").remove, ["gone"]);
        assert_eq!(extra(&plan(&[file("a", 1)], &there, Some(&base), "same")), ["gone"], "made anew there");
    }

    #[test]
    fn a_containers_edit_while_apart_comes_here_unless_it_was_edited_here_too() {
        let base = base(vec![file("a", 1), file("b", 1)]);
        let (here, there) = ([file("a", 1), file("b", 3)], [file("a", 2), file("b", 2)]);
        let same = plan(&here, &there, Some(&base), "same");
        assert_eq!(same.take.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!((same.send, same.losers), (vec!["b".to_owned()], vec!["b".to_owned()]));
        let fresh = plan(&here, &there, Some(&base), "fresh");
        assert_eq!(
            (fresh.take, fresh.send, fresh.losers),
            (vec![], vec!["a".to_owned(), "b".to_owned()], vec![])
        );
    }

    #[test]
    fn what_was_here_since_the_base_is_no_edit_there() {
        // Here: 1, written down, then 2, which it got, and 3.
        let base = base(vec![file("a", 1), file("b", 1)]);
        let known = KnownVersions {
            versions: [("a".to_owned(), vec![file("a", 2)])].into(),
            ..KnownVersions::default()
        };
        let merge = |here: u8, known: &KnownVersions| {
            let here = [file("a", here), file("b", 1)];
            let there = [file("a", 2), file("b", 1)];
            let sides = Sides {
                local: &here,
                unlisted: &[],
                remote: &there,
                container: "same",
                base: Some(&base),
                recent: known,
            };
            super::plan(sides, policy(Initial::Local))
        };
        assert_eq!(merge(3, &KnownVersions::default()).losers, ["a"], "nobody knows");
        let plan = merge(3, &known);
        assert_eq!((plan.send, plan.losers), (vec!["a".to_owned()], vec![]));
        // Put back here as it was: that is an edit too.
        let plan = merge(1, &known);
        assert_eq!((plan.send, plan.take), (vec!["a".to_owned()], vec![]));
    }

    #[test]
    fn what_could_not_be_listed_here_is_not_gone() {
        let base = base(vec![dir("d", 0), file("d/f", 1)]);
        let there = [dir("d", 0), file("d/f", 1)];
        let unknown = [Skipped { path: "d".into(), reason: "it can't be read".into() }];
        let known = KnownVersions::default();
        let sides = Sides {
            local: &[],
            unlisted: &unknown,
            remote: &there,
            container: "fresh",
            base: Some(&base),
            recent: &known,
        };
        let plan = super::plan(sides, policy(Initial::Local));
        assert_eq!(plan, Plan::default());
    }

    #[test]
    fn a_base_that_is_gone_here_as_a_whole_is_doubted() {
        let all: Vec<Entry> = (0..30).map(|n| file(&format!("f{n:02}"), 1)).collect();
        let whole = base(all.clone());
        let some = plan(&all[..20], &all, Some(&whole), "fresh");
        assert_eq!((some.remove.len(), some.doubt(&all[..20], Some(&whole))), (10, None));
        assert!(plan(&[], &all, Some(&whole), "fresh").doubt(&[], Some(&whole)).is_some());
        let two = base(all[..2].to_vec());
        assert!(plan(&[], &all[..2], Some(&two), "fresh").doubt(&[], Some(&two)).is_some());
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
}
