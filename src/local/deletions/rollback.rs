//! Putting back what was applied of a burst before it was too much: while a person is asked, nothing is missing here.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use ksync_tree::{Entry, Kind, Root, move_new, stat_entry};
use tracing::warn;

use super::error::Error;
use crate::{
    kept,
    local::approval::{ContainerRef, Rollback},
};

/// What was taken out of the folder at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    /// Where the files are kept.
    pub(super) kept: PathBuf,
    /// As it was, with the container that had deleted it; directories too.
    pub(super) entries: Vec<(Arc<ContainerRef>, Entry)>,
}

impl From<Applied> for Rollback {
    fn from(Applied { kept, entries }: Applied) -> Self {
        let mode = |entry: &Entry| (entry.kind == Kind::Dir).then_some(entry.mode);
        let paths = entries.into_iter().map(|(_, entry)| (entry.path.clone(), mode(&entry)));
        Self { kept, paths: paths.collect() }
    }
}

/// Puts all `rollbacks` back below `root`, where nothing stands by now. Returns the paths that are there again; what is
/// not is still kept, unless it was put back before.
pub(super) fn put_back(root: &Path, folder: &Path, rollbacks: &[Rollback]) -> Result<Vec<String>, Error> {
    let workshop = kept::Kind::Restored.moment(folder);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&workshop);
    made.map_err(|source| Error::Kept { path: workshop.clone(), source })?;
    let (root, shop) = (Root::open(root)?, Root::open(&workshop)?);
    let mut all: Vec<(&Path, &String, Option<u32>)> = Vec::new();
    // Of what was taken out twice, the newest comes back.
    for moment in rollbacks.iter().rev() {
        all.extend(moment.paths.iter().map(|(path, mode)| (moment.kept.as_path(), path, *mode)));
    }
    // A directory before what was in it, so that it has its mode again.
    all.sort_by(|(_, a, _), (_, b, _)| ksync_tree::compare(a, b));
    let mut restored = Vec::new();
    for (kept, path, dir) in all {
        let moved = match dir {
            Some(mode) => directory(&root, &workshop, &shop, path, mode),
            None => file(kept, &root, path).map_err(Error::from),
        };
        match moved {
            Ok(true) => restored.push(path.clone()),
            Ok(false) => {}
            Err(error) => warn!(path, error = ksync_common::chain(&error), "put back"),
        }
    }
    // Only empty directories that stood in nobody's place are left in it.
    if let Err(error) = fs::remove_dir_all(&workshop) {
        warn!(%error, "tidy up after putting back");
    }
    Ok(restored)
}

/// What is not kept any more was put back before a watcher ended in the middle of this.
fn file(kept: &Path, root: &Root, path: &str) -> Result<bool, ksync_tree::Error> {
    let kept = match Root::open(kept) {
        Err(error) if error.is_not_found() => return Ok(false),
        kept => kept?,
    };
    if stat_entry(&kept, path, false)?.is_none() {
        return Ok(false);
    }
    move_new(&kept, path, root, path)
}

fn directory(root: &Root, workshop: &Path, shop: &Root, path: &str, mode: u32) -> Result<bool, Error> {
    let failed = |source| Error::Kept { path: workshop.to_owned(), source };
    let new = workshop.join("d");
    fs::create_dir(&new).map_err(failed)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode & 0o777)).map_err(failed)?;
    let moved = move_new(shop, "d", root, path);
    if !matches!(moved, Ok(true)) {
        fs::remove_dir(&new).map_err(failed)?;
    }
    Ok(moved?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use ksync_tree::{Entry, Root, stat_entry};

    use super::{super::apply::remove, Applied, ContainerRef, Rollback, put_back};

    fn entries(root: &Path, paths: &[&str]) -> Vec<Entry> {
        let root = Root::open(root).unwrap();
        paths.iter().map(|path| stat_entry(&root, path, false).unwrap().unwrap()).collect()
    }

    #[test]
    fn everything_is_as_it_was_but_what_came_into_its_place() {
        let (here, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(here.path().join("d/empty")).unwrap();
        fs::set_permissions(here.path().join("d"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(here.path().join("d/f"), "f").unwrap();
        fs::write(here.path().join("taken"), "old").unwrap();
        let paths = ["taken", "d/f", "d/empty", "d"];
        let before = entries(here.path(), &paths);
        let moment = kept.path().join("deleted/m");
        let paths = paths.map(str::to_owned).to_vec();
        let gone = remove(here.path(), &moment, paths.clone(), &ksync_tree::Ignore::none()).unwrap();
        assert_eq!(gone, paths);
        fs::write(here.path().join("taken"), "new").unwrap();
        let by = std::sync::Arc::new(ContainerRef::default());
        let of = before.iter().map(|entry| (by.clone(), entry.clone())).collect();
        let rollbacks = [Applied { kept: moment.clone(), entries: of }.into()];
        let restored = put_back(here.path(), kept.path(), &rollbacks).unwrap();
        assert_eq!(restored, ["d", "d/empty", "d/f"]);
        let now = entries(here.path(), &["d/f", "d"]);
        assert_eq!((&now[0], now[1].mode), (&before[1], before[3].mode));
        assert_eq!(fs::read_to_string(here.path().join("taken")).unwrap(), "new");
        assert_eq!(fs::read_to_string(moment.join("taken")).unwrap(), "old", "it is still kept");
        assert_eq!(fs::read_dir(kept.path().join("restored")).unwrap().count(), 0);
        assert!(put_back(here.path(), kept.path(), &rollbacks).unwrap().is_empty(), "once is enough");
        // Taken out twice.
        let twice = ["old", "new"].map(|text| {
            let kept = kept.path().join("deleted").join(text);
            fs::create_dir(&kept).unwrap();
            fs::write(kept.join("twice"), text).unwrap();
            Rollback { kept, paths: [("twice".to_owned(), None)].into() }
        });
        assert_eq!(put_back(here.path(), kept.path(), &twice).unwrap(), ["twice"]);
        assert_eq!(fs::read_to_string(here.path().join("twice")).unwrap(), "new");
        fs::remove_dir_all(&moment).unwrap();
        assert!(put_back(here.path(), kept.path(), &rollbacks).unwrap().is_empty());
    }
}
