//! Applying a container's deletions here: the only code that takes a file out of a local folder on the far
//! side's word.
//!
//! A path is removed only when a living container's deletion of it was vouched for by radar, syncthing's
//! index says that this deletion is newer than what is here, and what is here was scanned just before. It
//! is moved, not deleted. A deletion of more than half of a folder at once waits for a person (`hold`).

mod back;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ksync_tree::{Entry, Kind, Removed, Root, move_entry, remove_entry, stat_entry};
use syncthing::{Batch, Client};
use tokio::time::Instant;

use back::{Taken, put_back};

use super::{
    brake,
    hold::{Hold, Owed, Who},
};
use crate::{blocking, kept};

/// Deletions within this time count together.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a deletion is waited for in syncthing's index.
const UNCONFIRMED: Duration = Duration::from_secs(60);
/// A burst is over when nothing was deleted for this long.
const QUIET: Duration = Duration::from_millis(200);
/// A burst that does not end is looked at after this long.
const BURST: Duration = Duration::from_secs(2);
/// A burst that is too much is told to a person when it is over, or after this long.
const LONGEST: Duration = Duration::from_secs(30);

/// Deletions that a living container made, on their way to be applied: gathered until the burst is over, so
/// that it is judged as a whole.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    /// With when each was told, and of which container.
    paths: BTreeMap<String, (Instant, Arc<Who>)>,
    first: Option<Instant>,
    last: Option<Instant>,
    /// When the burst was found to be too much.
    tripped: Option<Instant>,
    /// What was taken out lately.
    applied: VecDeque<(Instant, Taken)>,
}

impl Agreed {
    /// The container `who` deleted `path`.
    pub(super) fn add(&mut self, path: String, who: Arc<Who>) {
        let now = Instant::now();
        self.paths.insert(path, (now, who));
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// A container has `path` again.
    pub(super) fn remove(&mut self, path: &str) {
        self.paths.remove(path);
    }

    /// Whether nothing is to be applied.
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// When the burst is to be looked at; none while there is none.
    pub(super) fn due(&self) -> Option<Instant> {
        Some((self.last? + QUIET).min(self.first? + BURST))
    }

    /// The burst is being looked at: what is left over is tried again whenever syncthing has news.
    pub(super) fn looked(&mut self) {
        (self.first, self.last) = (None, None);
    }

    /// A deletion that the index does not have after so long was undone, or overtaken by an edit here.
    fn forget_unconfirmed(&mut self, confirmed: &[String]) {
        let confirmed: BTreeSet<&String> = confirmed.iter().collect();
        self.paths.retain(|path, (told, _)| confirmed.contains(path) || told.elapsed() < UNCONFIRMED);
    }

    /// All that was told of the containers that made the `confirmed` deletions, by container.
    fn told_by_those_of(&self, confirmed: &[String]) -> BTreeMap<Arc<Who>, Vec<String>> {
        let mut told: BTreeMap<Arc<Who>, Vec<String>> = BTreeMap::new();
        for (_, who) in confirmed.iter().filter_map(|path| self.paths.get(path)) {
            told.entry(Arc::clone(who)).or_default();
        }
        for (path, (_, who)) in &self.paths {
            if let Some(paths) = told.get_mut(who) {
                paths.push(path.clone());
            }
        }
        told
    }

    /// The burst is too much. Returns whether it may be told: until it is over, it is looked at again.
    fn trip(&mut self) -> bool {
        let now = Instant::now();
        let since = *self.tripped.get_or_insert(now);
        let newest = self.paths.values().map(|(told, _)| *told).max();
        let over = newest.is_none_or(|newest| now >= newest + QUIET) || now >= since + LONGEST;
        if over {
            self.tripped = None;
        } else {
            self.first = Some(now);
            self.last = newest;
        }
        over
    }

    fn applied_lately(&mut self) -> usize {
        while self.applied.front().is_some_and(|(at, _)| at.elapsed() >= WINDOW) {
            self.applied.pop_front();
        }
        let entries = self.applied.iter().flat_map(|(_, taken)| &taken.entries);
        entries.filter(|(_, entry)| entry.kind != Kind::Dir).count()
    }
}

/// Why a deletion was not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Syncthing(#[from] syncthing::Error),
    #[error(transparent)]
    Tree(#[from] ksync_tree::Error),
    #[error("make `{path}`")]
    Kept { path: PathBuf, source: std::io::Error },
}

/// The folder at hand.
pub(super) struct Place<'a> {
    pub(super) client: &'a Client,
    pub(super) id: &'a str,
    pub(super) path: &'a Path,
    pub(super) kept: &'a Path,
}

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Paths that are gone now and should be scanned.
    pub(super) removed: Vec<String>,
    /// What waits for a person from now on.
    pub(super) held: Vec<Hold>,
    /// What of it was taken out already, to be put back when its container is detached: it would get it back else.
    pub(super) owed: Vec<Owed>,
}

/// Applies those of the `agreed` deletions that syncthing's index confirms, and takes them from `agreed`.
pub(super) async fn apply(place: &Place<'_>, agreed: &mut Agreed) -> Result<Outcome, Error> {
    let first = confirmed(place, agreed.paths.keys()).await?;
    agreed.forget_unconfirmed(&first);
    if first.is_empty() {
        return Ok(Outcome::default());
    }
    let status = place.client.folder_status(place.id).await?;
    let lately = agreed.applied_lately();
    let known = usize::try_from(status.local_files + status.local_symlinks).unwrap_or(usize::MAX);
    let before = known.saturating_add(lately);
    // All that were told count, whatever syncthing's index, which comes in portions, has of them yet.
    let told = agreed.told_by_those_of(&first);
    let here = still_here(place.path, told).await?;
    let deleted = here.values().flatten().filter(|entry| entry.kind != Kind::Dir).count();
    if brake::trips(deleted + lately, before) {
        if !agreed.trip() {
            return Ok(Outcome::default());
        }
        return Ok(hold(agreed, here, before));
    }
    // An edit made here in the meantime is newer than the deletion: scanned, it is pending no more.
    let mut batch = Batch::default();
    for path in &first {
        batch.add(path.as_str());
    }
    place.client.scan(place.id, &batch.take()).await?;
    let mut paths = confirmed(place, first.iter()).await?;
    // What is below a directory goes before the directory.
    paths.sort_by(|a, b| b.cmp(a));
    let moment = kept::Kind::Deleted.moment(place.kept);
    let (root, kept) = (place.path.to_owned(), moment.clone());
    let removed = blocking::run(move || remove(&root, &kept, paths)).await?;
    for path in &removed {
        agreed.paths.remove(path);
    }
    let gone: BTreeSet<&String> = removed.iter().collect();
    let of =
        here.into_iter().flat_map(|(who, entries)| entries.into_iter().map(move |e| (Arc::clone(&who), e)));
    let entries = of.filter(|(_, entry)| gone.contains(&entry.path)).collect();
    agreed.applied.push_back((Instant::now(), Taken { kept: moment, entries }));
    Ok(Outcome { removed, ..Outcome::default() })
}

/// Has the whole burst wait, with what of it was applied before it was too much.
fn hold(agreed: &mut Agreed, here: BTreeMap<Arc<Who>, Vec<Entry>>, of: usize) -> Outcome {
    let taken: Vec<Taken> = agreed.applied.drain(..).map(|(_, taken)| taken).collect();
    let mut held: BTreeMap<Arc<Who>, Hold> = BTreeMap::new();
    let gone = taken.iter().flat_map(|taken| taken.entries.iter().cloned());
    let waiting =
        here.into_iter().flat_map(|(who, entries)| entries.into_iter().map(move |e| (Arc::clone(&who), e)));
    for (who, entry) in waiting.chain(gone) {
        let hold = held.entry(Arc::clone(&who)).or_insert_with(|| Hold::new(Who::clone(&who), of));
        hold.add([entry]);
    }
    agreed.paths.retain(|_, (_, who)| !held.contains_key(who));
    let owed = taken.into_iter().map(Owed::from).collect();
    Outcome { removed: Vec::new(), held: held.into_values().collect(), owed }
}

/// Puts back what was taken out of `root` and waits now. Returns the paths that are there again.
pub(super) async fn give_back(root: &Path, kept: &Path, owed: &[Owed]) -> Result<Vec<String>, Error> {
    let (root, kept, owed) = (root.to_owned(), kept.to_owned(), owed.to_vec());
    blocking::run(move || put_back(&root, &kept, &owed)).await
}

/// Takes what waited out of `root`, where it is still what it was: a person has agreed. Returns what is gone.
pub(super) async fn apply_hold(root: &Path, kept: &Path, hold: &Hold) -> Result<Vec<String>, Error> {
    let (at, hold) = (root.to_owned(), hold.clone());
    let kept = kept::Kind::Accepted.moment(kept);
    blocking::run(move || {
        let paths = hold.unchanged(&Root::open(&at)?)?;
        remove(&at, &kept, paths)
    })
    .await
}

/// What of the deleted paths is here.
async fn still_here(
    root: &Path,
    told: BTreeMap<Arc<Who>, Vec<String>>,
) -> Result<BTreeMap<Arc<Who>, Vec<Entry>>, Error> {
    let root = root.to_owned();
    blocking::run(move || {
        let root = Root::open(&root)?;
        let mut here = BTreeMap::new();
        for (who, paths) in told {
            let entries: Result<Vec<_>, _> =
                paths.iter().filter_map(|path| stat_entry(&root, path, false).transpose()).collect();
            here.insert(who, entries?);
        }
        Ok(here)
    })
    .await
}

/// Those of `paths` whose newest version in syncthing's index is a deletion.
async fn confirmed(place: &Place<'_>, paths: impl Iterator<Item = &String>) -> Result<Vec<String>, Error> {
    let mut confirmed = Vec::new();
    for path in paths {
        if place.client.is_deletion_pending(place.id, path).await? {
            confirmed.push(path.clone());
        }
    }
    Ok(confirmed)
}

/// Moves `paths` out of `root` into `kept`; returns those that are gone. A directory goes once it is empty:
/// what is in it was not deleted over there, or not yet.
fn remove(root: &Path, kept: &Path, mut paths: Vec<String>) -> Result<Vec<String>, Error> {
    let root = Root::open(root)?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(kept);
    made.map_err(|source| Error::Kept { path: kept.to_owned(), source })?;
    let kept = Root::open(kept)?;
    let mut failed = None;
    paths.retain(|path| match remove_one(&root, &kept, path) {
        Ok(gone) => gone,
        Err(error) => {
            failed = Some(error);
            false
        }
    });
    match failed {
        Some(error) if paths.is_empty() => Err(error.into()),
        Some(error) => {
            tracing::warn!(error = ksync_common::chain(&error), "apply a container's deletion");
            Ok(paths)
        }
        None => Ok(paths),
    }
}

fn remove_one(root: &Root, kept: &Root, path: &str) -> Result<bool, ksync_tree::Error> {
    match stat_entry(root, path, false)? {
        Some(entry) if entry.kind == Kind::Dir => Ok(remove_entry(root, path)? != Removed::NotEmpty),
        Some(_) => move_entry(root, path, kept, path).map(|()| true),
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::{Instant, advance};

    use super::{Agreed, Arc, BURST, Entry, Kind, LONGEST, QUIET, Taken, WINDOW, Who, remove};

    fn who(container: &str) -> Arc<Who> {
        Arc::new(Who { container: container.into(), ..Who::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_looked_at_when_it_is_over_or_too_long() {
        let mut agreed = Agreed::default();
        assert_eq!(agreed.due(), None);
        let begun = Instant::now();
        agreed.add("a".into(), who("c"));
        assert_eq!(agreed.due(), Some(begun + QUIET));
        for _ in 0..30 {
            advance(QUIET / 2).await;
            agreed.add("b".into(), who("c"));
        }
        assert_eq!(agreed.due(), Some(begun + BURST));
        agreed.looked();
        assert!(agreed.due().is_none() && !agreed.is_empty());
    }

    /// So many files, and a directory, which does not count.
    fn taken(files: usize) -> Taken {
        let entry =
            |kind| Entry { path: "x".into(), kind, size: 0, mtime_ns: 0, mode: 0, hash: None, target: None };
        let kinds = std::iter::repeat_n(Kind::File, files).chain([Kind::Dir]);
        Taken { kept: "/kept".into(), entries: kinds.map(|kind| (who("c"), entry(kind))).collect() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_applied_lately_counts_for_a_while() {
        let mut agreed = Agreed::default();
        agreed.applied.push_back((Instant::now(), taken(7)));
        advance(WINDOW / 2).await;
        agreed.applied.push_back((Instant::now(), taken(4)));
        assert_eq!(agreed.applied_lately(), 11);
        advance(WINDOW).await;
        assert_eq!(agreed.applied_lately(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn too_much_is_told_when_the_burst_is_over_or_too_long() {
        let mut agreed = Agreed::default();
        agreed.add("a".into(), who("c"));
        assert!(!agreed.trip());
        assert_eq!(agreed.due(), Some(Instant::now() + QUIET), "it is looked at again");
        advance(QUIET).await;
        assert!(agreed.trip());
        let begun = Instant::now();
        agreed.add("b".into(), who("c"));
        while !agreed.trip() {
            advance(QUIET / 2).await;
            agreed.add("b".into(), who("c"));
        }
        assert!(begun.elapsed() >= LONGEST);
    }

    #[test]
    fn a_deletion_is_counted_for_the_container_that_made_it() {
        let mut agreed = Agreed::default();
        for (path, container) in [("a", "one"), ("b", "one"), ("c", "two")] {
            agreed.add(path.into(), who(container));
        }
        let told = agreed.told_by_those_of(&["b".to_owned()]);
        assert_eq!(told, [(who("one"), vec!["a".to_owned(), "b".to_owned()])].into());
    }

    #[test]
    fn what_is_removed_is_kept_and_a_full_directory_stays() {
        let (here, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(here.path().join("d/sub")).unwrap();
        fs::write(here.path().join("d/gone"), "g").unwrap();
        fs::write(here.path().join("d/mine"), "m").unwrap();
        let kept = kept.path().join("x");
        let asked = ["d/sub", "d/gone", "d", "never"].map(str::to_owned).to_vec();
        let gone = remove(here.path(), &kept, asked).unwrap();
        assert_eq!(gone, ["d/sub", "d/gone", "never"]);
        assert!(!here.path().join("d/gone").exists() && !here.path().join("d/sub").exists());
        assert_eq!(fs::read_to_string(here.path().join("d/mine")).unwrap(), "m");
        assert_eq!(fs::read_to_string(kept.join("d/gone")).unwrap(), "g");
    }
}
