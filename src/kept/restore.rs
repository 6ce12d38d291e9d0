//! Putting what is kept back in its place.
//!
//! Nothing is lost on the way: what stands there is kept in turn, whole, before it is replaced, and what is put back is
//! complete before it has its name.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path, path::PathBuf};

use ksync_tree::{
    Entry, Kind as EntryKind, Root, copy_entry, move_entry, move_new, remove_entry, stat_entry,
};

use super::{Item, Kind};

/// How often something that comes into the way just now is looked at anew.
const ATTEMPTS: usize = 5;

/// Why something was not put back; it is still kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The local path, the file, or its place.
    #[error(transparent)]
    Tree(#[from] ksync_tree::Error),
    /// A sweep was faster.
    #[error("what was kept of `{0}` is gone by now")]
    Gone(String),
    /// A directory stands in its place.
    #[error("`{0}` is a directory here")]
    Directory(String),
    /// Somebody writes it.
    #[error("`{0}` changes all the time")]
    Restless(String),
    /// No place for what stands there.
    #[error("make `{path}`")]
    Kept {
        /// The place.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restored {
    /// It was missing and is there again.
    Back,
    /// It is there instead of what was there, which is kept now.
    Exchanged,
    /// The same content was there already.
    Same,
}

/// Puts `item` of the kept directory `folder` back below `root`, and takes it from what is kept.
pub(crate) fn restore(folder: &Path, item: &Item, root: &Root) -> Result<Restored, Error> {
    let name = item.place.file_name().and_then(|name| name.to_str());
    let (Some(above), Some(name)) = (item.place.parent(), name) else {
        return Err(Error::Gone(item.path.clone()));
    };
    let from = Root::open(above)?;
    let path = item.path.as_str();
    let kept = stat_entry(&from, name, true)?.ok_or_else(|| Error::Gone(path.to_owned()))?;
    for _ in 0..ATTEMPTS {
        match stat_entry(root, path, true)? {
            None => {
                if move_new(&from, name, root, path)? {
                    return Ok(Restored::Back);
                }
            }
            Some(here) if here.kind == EntryKind::Dir => return Err(Error::Directory(path.to_owned())),
            Some(here) if is_same(&here, &kept) => {
                remove_entry(&from, name)?;
                return Ok(Restored::Same);
            }
            Some(here) => {
                copy_entry(root, &aside(folder)?, path)?;
                if stat_entry(root, path, true)?.as_ref() == Some(&here) {
                    move_entry(&from, name, root, path)?;
                    return Ok(Restored::Exchanged);
                }
            }
        }
    }
    Err(Error::Restless(path.to_owned()))
}

fn is_same(here: &Entry, kept: &Entry) -> bool {
    (here.kind, here.hash, here.mode, &here.target) == (kept.kind, kept.hash, kept.mode, &kept.target)
}

/// A place for what is in the way.
fn aside(folder: &Path) -> Result<Root, Error> {
    let path = Kind::Restored.moment(folder);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.map_err(|source| Error::Kept { path: path.clone(), source })?;
    Ok(Root::open(&path)?)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use ksync_tree::Root;

    use super::{Error, Item, Restored, restore};
    use crate::kept::{Kind, list};

    /// A kept directory on the same file system as the local path, and on another one where there is one.
    fn places() -> Vec<(tempfile::TempDir, tempfile::TempDir)> {
        let here = || tempfile::tempdir().unwrap();
        let mut places = vec![(here(), here())];
        places.extend(tempfile::tempdir_in("/dev/shm").ok().map(|other| (here(), other)));
        places
    }

    fn keep(kept: &Path, path: &str, text: &str) -> Item {
        let place = Kind::Deleted.moment(&kept.join("f")).join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, text).unwrap();
        let items = list(kept).unwrap().remove(0).items;
        items.into_iter().find(|item| item.place == place).unwrap()
    }

    #[test]
    fn what_is_missing_comes_back_and_what_is_in_the_way_is_kept() {
        for (here, kept) in places() {
            let (root, folder) = (Root::open(here.path()).unwrap(), kept.path().join("f"));
            let item = keep(kept.path(), "d/a", "old");
            assert_eq!(restore(&folder, &item, &root).unwrap(), Restored::Back);
            assert_eq!(fs::read_to_string(here.path().join("d/a")).unwrap(), "old");
            assert!(list(kept.path()).unwrap()[0].items.is_empty(), "it is kept no more");

            fs::write(here.path().join("d/a"), "mine").unwrap();
            let item = keep(kept.path(), "d/a", "older");
            assert_eq!(restore(&folder, &item, &root).unwrap(), Restored::Exchanged);
            assert_eq!(fs::read_to_string(here.path().join("d/a")).unwrap(), "older");
            let items = list(kept.path()).unwrap().remove(0).items;
            assert_eq!((items.len(), items[0].kind, items[0].path.as_str()), (1, Kind::Restored, "d/a"));
            assert_eq!(fs::read_to_string(&items[0].place).unwrap(), "mine");

            let item = keep(kept.path(), "d/a", "older");
            assert_eq!(restore(&folder, &item, &root).unwrap(), Restored::Same);
            assert!(!item.place.exists());
            assert!(matches!(restore(&folder, &item, &root), Err(Error::Gone(_))));
        }
    }

    #[test]
    fn what_can_not_be_put_back_stays_kept() {
        let (here, kept) = places().remove(0);
        let (root, folder) = (Root::open(here.path()).unwrap(), kept.path().join("f"));
        fs::create_dir(here.path().join("a")).unwrap();
        fs::write(here.path().join("file"), "").unwrap();
        for path in ["a", "file/below"] {
            let item = keep(kept.path(), path, "x");
            assert!(restore(&folder, &item, &root).is_err(), "{path}");
            assert_eq!(fs::read_to_string(&item.place).unwrap(), "x");
        }
        assert!(here.path().join("a").is_dir() && here.path().join("file").is_file());
    }

    /// As on a full disk: the copy fails, and both files are what and where they were.
    #[test]
    fn a_disk_without_room_loses_nothing() {
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            return ksync_skip::skipped("no second file system at /dev/shm");
        };
        let here = tempfile::tempdir().unwrap();
        let root = Root::open(here.path()).unwrap();
        fs::write(here.path().join("a"), "mine").unwrap();
        let item = keep(other.path(), "a", "old");
        // No room for what is in the way: its place can't be made.
        fs::write(other.path().join("f/restored"), "").unwrap();
        assert!(matches!(restore(&other.path().join("f"), &item, &root), Err(Error::Kept { .. })));
        assert_eq!(fs::read_to_string(here.path().join("a")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&item.place).unwrap(), "old");
    }
}
