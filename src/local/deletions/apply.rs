//! Applying a container's deletions here: the only code that takes a file out of a local folder on the far
//! side's word.
//!
//! A path is removed only when a living container's deletion of it was vouched for by radar, syncthing's
//! index says that this deletion is newer than what is here, and what is here was scanned just before. It
//! is moved, not deleted. A deletion of more than half of a folder at once waits for a person (`approval`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
};

use ksync_tree::{Entry, Ignore, Kind, Removed, Root, move_entry, remove_with_junk, stat_entry};
use syncthing::{Batch, Client};
use tokio::time::Instant;

use super::{
    error::Error,
    queue::DeletionQueue,
    rollback::{Applied, put_back},
    threshold,
};
use crate::{
    blocking, kept,
    local::approval::{ContainerRef, PendingBurst, Rollback},
};

/// The folder at hand.
pub(in crate::local) struct SyncedFolder<'a> {
    pub(in crate::local) client: &'a Client,
    pub(in crate::local) id: &'a str,
    pub(in crate::local) path: &'a Path,
    pub(in crate::local) kept: &'a Path,
    /// What is left out.
    pub(in crate::local) ignore: &'a Ignore,
}

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::local) struct Outcome {
    /// Paths that are gone now and should be scanned.
    pub(in crate::local) removed: Vec<String>,
    /// What waits for a person from now on.
    pub(in crate::local) pending: Vec<PendingBurst>,
    /// What of it was taken out already, to be put back when its container is detached: it would get it back else.
    pub(in crate::local) rollbacks: Vec<Rollback>,
}

/// Applies those deletions in `queue` that syncthing's index confirms, and takes them from the queue.
pub(in crate::local) async fn apply(
    folder: &SyncedFolder<'_>,
    queue: &mut DeletionQueue,
) -> Result<Outcome, Error> {
    let first = confirmed(folder, queue.paths.keys()).await?;
    queue.forget_unconfirmed(&first);
    if first.is_empty() {
        return Ok(Outcome::default());
    }
    let status = folder.client.folder_status(folder.id).await?;
    let recently = queue.recently_applied();
    let known = usize::try_from(status.local_files + status.local_symlinks).unwrap_or(usize::MAX);
    let before = known.saturating_add(recently);
    // All that radar vouched for count, whatever syncthing's index, which comes in portions, has of them yet.
    let vouched = queue.vouched_by_those_of(&first);
    let here = still_here(folder.path, vouched).await?;
    let deleted = here.values().flatten().filter(|entry| entry.kind != Kind::Dir).count();
    if threshold::is_exceeded(deleted + recently, before) {
        if !queue.trip() {
            return Ok(Outcome::default());
        }
        return Ok(await_approval(queue, here, before));
    }
    // An edit made here in the meantime is newer than the deletion: scanned, it is pending no more.
    let mut batch = Batch::default();
    for path in &first {
        batch.add(path.as_str());
    }
    folder.client.scan(folder.id, &batch.take()).await?;
    let mut paths = confirmed(folder, first.iter()).await?;
    // What is below a directory goes before the directory.
    paths.sort_by(|a, b| b.cmp(a));
    let moment = kept::Kind::Deleted.moment(folder.kept);
    let (root, kept, ignore) = (folder.path.to_owned(), moment.clone(), folder.ignore.clone());
    let removed = blocking::run(move || remove(&root, &kept, paths, &ignore)).await?;
    for path in &removed {
        queue.paths.remove(path);
    }
    let gone: BTreeSet<&String> = removed.iter().collect();
    let of =
        here.into_iter().flat_map(|(by, entries)| entries.into_iter().map(move |e| (Arc::clone(&by), e)));
    let entries = of.filter(|(_, entry)| gone.contains(&entry.path)).collect();
    queue.applied.push_back((Instant::now(), Applied { kept: moment, entries }));
    Ok(Outcome { removed, ..Outcome::default() })
}

/// Has the whole burst wait, with what of it was applied before it was too much.
fn await_approval(
    queue: &mut DeletionQueue,
    here: BTreeMap<Arc<ContainerRef>, Vec<Entry>>,
    of: usize,
) -> Outcome {
    let taken: Vec<Applied> = queue.applied.drain(..).map(|(_, taken)| taken).collect();
    let mut pending: BTreeMap<Arc<ContainerRef>, PendingBurst> = BTreeMap::new();
    let gone = taken.iter().flat_map(|taken| taken.entries.iter().cloned());
    let waiting =
        here.into_iter().flat_map(|(by, entries)| entries.into_iter().map(move |e| (Arc::clone(&by), e)));
    for (by, entry) in waiting.chain(gone) {
        let burst =
            pending.entry(Arc::clone(&by)).or_insert_with(|| PendingBurst::new(ContainerRef::clone(&by), of));
        burst.add([entry]);
    }
    queue.paths.retain(|_, vouched| !pending.contains_key(&vouched.by));
    let rollbacks = taken.into_iter().map(Rollback::from).collect();
    Outcome { removed: Vec::new(), pending: pending.into_values().collect(), rollbacks }
}

/// Puts back what was taken out of `root` and waits now. Returns the paths that are there again.
pub(in crate::local) async fn roll_back(
    root: &Path,
    kept: &Path,
    rollbacks: &[Rollback],
) -> Result<Vec<String>, Error> {
    let (root, kept, rollbacks) = (root.to_owned(), kept.to_owned(), rollbacks.to_vec());
    blocking::run(move || put_back(&root, &kept, &rollbacks)).await
}

/// Takes what waited out of `root`, where it is still what it was: a person has agreed. Returns what is gone.
pub(in crate::local) async fn apply_pending(
    root: &Path,
    kept: &Path,
    burst: &PendingBurst,
    ignore: &Ignore,
) -> Result<Vec<String>, Error> {
    let (at, burst, ignore) = (root.to_owned(), burst.clone(), ignore.clone());
    let kept = kept::Kind::Accepted.moment(kept);
    blocking::run(move || {
        let paths = burst.unchanged(&Root::open(&at)?)?;
        remove(&at, &kept, paths, &ignore)
    })
    .await
}

/// What of the deleted paths is here.
async fn still_here(
    root: &Path,
    vouched: BTreeMap<Arc<ContainerRef>, Vec<String>>,
) -> Result<BTreeMap<Arc<ContainerRef>, Vec<Entry>>, Error> {
    let root = root.to_owned();
    blocking::run(move || {
        let root = Root::open(&root)?;
        let mut here = BTreeMap::new();
        for (by, paths) in vouched {
            let entries: Result<Vec<_>, _> =
                paths.iter().filter_map(|path| stat_entry(&root, path, false).transpose()).collect();
            here.insert(by, entries?);
        }
        Ok(here)
    })
    .await
}

/// Those of `paths` whose newest version in syncthing's index is a deletion.
async fn confirmed(
    folder: &SyncedFolder<'_>,
    paths: impl Iterator<Item = &String>,
) -> Result<Vec<String>, Error> {
    let mut confirmed = Vec::new();
    for path in paths {
        if folder.client.is_deletion_pending(folder.id, path).await? {
            confirmed.push(path.clone());
        }
    }
    Ok(confirmed)
}

/// Moves `paths` out of `root` into `kept`; returns those that are gone. A directory goes once nothing is in it but what
/// `ignore` lets go with it: what else is there was not deleted over there, or not yet.
pub(super) fn remove(
    root: &Path,
    kept: &Path,
    mut paths: Vec<String>,
    ignore: &Ignore,
) -> Result<Vec<String>, Error> {
    let root = Root::open(root)?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(kept);
    made.map_err(|source| Error::Kept { path: kept.to_owned(), source })?;
    let kept = Root::open(kept)?;
    let mut failed = None;
    paths.retain(|path| match remove_one(&root, &kept, path, ignore) {
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

fn remove_one(root: &Root, kept: &Root, path: &str, ignore: &Ignore) -> Result<bool, ksync_tree::Error> {
    match stat_entry(root, path, false)? {
        Some(entry) if entry.kind == Kind::Dir => {
            Ok(remove_with_junk(root, path, ignore, &[])? != Removed::NotEmpty)
        }
        Some(_) => move_entry(root, path, kept, path).map(|()| true),
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ksync_tree::Ignore;

    use super::remove;

    #[test]
    fn what_is_removed_is_kept_and_a_full_directory_stays() {
        let (here, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(here.path().join("d/sub")).unwrap();
        fs::write(here.path().join("d/gone"), "g").unwrap();
        fs::write(here.path().join("d/mine"), "m").unwrap();
        let kept = kept.path().join("x");
        let asked = ["d/sub", "d/gone", "d", "never", "cached"].map(str::to_owned).to_vec();
        fs::create_dir_all(here.path().join("cached/__pycache__")).unwrap();
        fs::write(here.path().join("cached/__pycache__/m.pyc"), "m").unwrap();
        let gone = remove(here.path(), &kept, asked, &Ignore::with_defaults(&[]).unwrap()).unwrap();
        assert_eq!(gone, ["d/sub", "d/gone", "never", "cached"]);
        assert!(!here.path().join("d/gone").exists() && !here.path().join("d/sub").exists());
        assert_eq!(fs::read_to_string(here.path().join("d/mine")).unwrap(), "m");
        assert_eq!(fs::read_to_string(kept.join("d/gone")).unwrap(), "g");
    }
}
