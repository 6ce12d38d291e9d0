//! Whether a container that was proved equal still is: what it does not hold, and what it holds and should not.

use ksync_tree::{Entry, Kind, Listing, covers, is_below};

use super::{
    Policy, Sides,
    entries::{by_path, unchanged},
    plan,
};
use crate::{
    config::{Direction, Initial},
    local::KnownVersions,
};

/// The paths that a container does not hold as they are here. Where the local entry is the very one that was
/// `proved` to be there, it is the container that has changed its copy since: that is no missing acknowledgement.
pub(in crate::folder) fn missing(local: &[Entry], remote: &[Entry], proved: &[Entry]) -> Vec<String> {
    let proved = by_path(proved);
    let here = by_path(local);
    let recent = KnownVersions::default();
    let sides = Sides { local, unlisted: &[], remote, container: "", base: None, recent: &recent };
    let policy =
        Policy { direction: Direction::ToContainer, initial: Initial::Local, first_container: false };
    let plan = plan(sides, policy);
    let own = |path: &String| unchanged(here.get(path.as_str()).copied(), proved.get(path.as_str()).copied());
    plan.send.into_iter().chain(plan.clashes).filter(|path| !own(path)).collect()
}

/// The paths that a container holds still as they were when they were `proved` equal, and that are gone here since.
pub(in crate::folder) fn stale(local: &Listing, remote: &[Entry], proved: &[Entry]) -> Vec<String> {
    let (here, proved) = (by_path(&local.entries), by_path(proved));
    let gone = |there: &&Entry| {
        let path = there.path.as_str();
        let unknown = local.skipped.iter().any(|skipped| covers(&skipped.path, path));
        !unknown && !here.contains_key(path) && unchanged(Some(there), proved.get(path).copied())
    };
    let stale: Vec<&Entry> = remote.iter().filter(gone).collect();
    // A directory that holds something else stays.
    let holds = |dir: &str| {
        let other =
            |entry: &&Entry| is_below(dir, &entry.path) && !stale.iter().any(|s| s.path == entry.path);
        remote.iter().any(|entry| other(&entry))
    };
    stale.iter().filter(|e| e.kind != Kind::Dir || !holds(&e.path)).map(|e| e.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use ksync_tree::{Entry, Listing, Skipped};

    use super::missing;
    use crate::folder::plan::sample::{dir, file};

    #[test]
    fn a_copy_that_the_container_changed_itself_is_not_missing() {
        let (here, there) = ([file("log", 1), file("new", 1)], [file("log", 9)]);
        assert_eq!(missing(&here, &there, &[file("log", 1)]), ["new"]);
        assert_eq!(missing(&here, &there, &[file("log", 2)]), ["log", "new"]);
    }

    #[test]
    fn what_was_removed_here_after_the_proof_is_stale_there() {
        let proved = [dir("d", 1), file("d/a", 1), file("d/b", 1), file("edited", 1)];
        let there = [dir("d", 1), file("d/a", 1), file("d/own", 1), file("edited", 2), file("own", 1)];
        let here = |entries: &[Entry], skipped: Vec<Skipped>| Listing { entries: entries.to_vec(), skipped };
        let stale = |here: &Listing| super::stale(here, &there, &proved);
        assert_eq!(stale(&here(&[], vec![])), ["d/a"], "what the container has made or edited is its own");
        let unknown = Skipped { path: "d".into(), reason: "it can't be read".into() };
        assert!(stale(&here(&[], vec![unknown])).is_empty());
        assert!(stale(&here(&proved, vec![])).is_empty());
        assert_eq!(super::stale(&here(&[], vec![]), &proved[..2], &proved), ["d", "d/a"]);
    }
}
