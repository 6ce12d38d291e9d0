//! Applying a container's deletions here: the only code that takes a file out of a local folder on the far
//! side's word.
//!
//! A path is removed only when a living container's deletion of it was vouched for by radar, syncthing's
//! index says that this deletion is newer than what is here, and what is here was scanned just before. It
//! is moved, not deleted. A deletion of more than half of a folder at once waits for a person.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use ksync_tree::{Kind, Removed, Root, move_entry, remove_entry, stat_entry};
use syncthing::{Batch, Client};
use tokio::time::Instant;

/// Folders with fewer files than this have no brake.
const BRAKE_FROM: usize = 20;
/// Deletions within this time count together.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a deletion is waited for in syncthing's index.
const UNCONFIRMED: Duration = Duration::from_secs(60);
/// A burst is over when nothing was deleted for this long.
const QUIET: Duration = Duration::from_millis(200);
/// A burst that does not end is looked at after this long.
const BURST: Duration = Duration::from_secs(2);

/// Deletions that a living container made, on their way to be applied: gathered until the burst is over, so
/// that it is judged as a whole.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    /// With when each was told.
    paths: BTreeMap<String, Instant>,
    first: Option<Instant>,
    last: Option<Instant>,
    applied: VecDeque<(Instant, usize)>,
}

impl Agreed {
    /// A container deleted `path`.
    pub(super) fn add(&mut self, path: String) {
        let now = Instant::now();
        self.paths.insert(path, now);
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
        self.paths.retain(|path, told| confirmed.contains(path) || told.elapsed() < UNCONFIRMED);
    }

    fn applied_lately(&mut self) -> usize {
        while self.applied.front().is_some_and(|(at, _)| at.elapsed() >= WINDOW) {
            self.applied.pop_front();
        }
        self.applied.iter().map(|(_, count)| count).sum()
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
    /// Why some are left, as a sentence.
    pub(super) held: Option<String>,
}

/// Applies those of the `agreed` deletions that syncthing's index confirms, and takes them from `agreed`.
pub(super) async fn apply(place: &Place<'_>, agreed: &mut Agreed) -> Result<Outcome, Error> {
    let first = confirmed(place, agreed.paths.keys()).await?;
    agreed.forget_unconfirmed(&first);
    if first.is_empty() {
        return Ok(Outcome::default());
    }
    let here = place.client.folder_status(place.id).await?.local_files;
    let lately = agreed.applied_lately();
    let before = usize::try_from(here).unwrap_or(usize::MAX).saturating_add(lately);
    // All that were told count, whatever syncthing's index, which comes in portions, has of them yet.
    if let Some(held) = brake(agreed.paths.len() + lately, before) {
        return Ok(Outcome { removed: Vec::new(), held: Some(held) });
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
    let (root, kept) = (place.path.to_owned(), place.kept.join("deleted").join(crate::kept::stamp()));
    let removing = tokio::task::spawn_blocking(move || remove(&root, &kept, paths));
    let removed = removing.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    for path in &removed {
        agreed.paths.remove(path);
    }
    agreed.applied.push_back((Instant::now(), removed.len()));
    Ok(Outcome { removed, held: None })
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

/// A sentence when so many deletions must not be applied unasked.
fn brake(deletions: usize, files: usize) -> Option<String> {
    let too_many = files >= BRAKE_FROM && deletions * 2 > files;
    too_many.then(|| {
        format!("a container deleted {deletions} of {files} files at once: what is left of them here stays, and what went before is in \
             `kept`")
    })
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
            tracing::warn!(error = crate::printer::chain(&error), "apply a container's deletion");
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

    use super::{Agreed, BURST, QUIET, WINDOW, brake, remove};

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_looked_at_when_it_is_over_or_too_long() {
        let mut agreed = Agreed::default();
        assert_eq!(agreed.due(), None);
        let begun = Instant::now();
        agreed.add("a".into());
        assert_eq!(agreed.due(), Some(begun + QUIET));
        for _ in 0..30 {
            advance(QUIET / 2).await;
            agreed.add("b".into());
        }
        assert_eq!(agreed.due(), Some(begun + BURST));
        agreed.looked();
        assert!(agreed.due().is_none() && !agreed.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_applied_lately_counts_for_a_while() {
        let mut agreed = Agreed::default();
        agreed.applied.push_back((Instant::now(), 7));
        advance(WINDOW / 2).await;
        agreed.applied.push_back((Instant::now(), 4));
        assert_eq!(agreed.applied_lately(), 11);
        advance(WINDOW).await;
        assert_eq!(agreed.applied_lately(), 0);
    }

    #[test]
    fn more_than_half_of_a_folder_is_held() {
        assert!(brake(11, 20).is_some());
        assert!(brake(10, 20).is_none());
        assert!(brake(19, 19).is_none(), "a small folder has no brake");
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
