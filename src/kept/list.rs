//! What is kept, as a list.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{Kind, children, moment_of, noted};

/// What is kept of one local path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Its kept directory.
    pub dir: PathBuf,
    /// The local path; none when it was never noted.
    pub local: Option<PathBuf>,
    /// By path, the newest of a path first.
    pub items: Vec<Item>,
}

/// One file or symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Relative to the local path.
    pub path: String,
    /// When it was taken away.
    pub at: Timestamp,
    /// Why.
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
    /// What it counts for where room is limited, in bytes.
    pub room: u64,
    /// Where it lies.
    pub place: PathBuf,
}

/// All that is kept in `kept`. Names that are not UTF-8 were never synced and are passed over.
pub(crate) fn list(kept: &Path) -> io::Result<Vec<Folder>> {
    let mut folders = Vec::new();
    for dir in children(kept)? {
        let mut items = Vec::new();
        for kind in Kind::ALL {
            of_kind(&dir, kind, &mut items)?;
        }
        items.sort_by(|a, b| ksync_tree::compare(&a.path, &b.path).then(b.at.cmp(&a.at)));
        folders.push(Folder { local: noted(&dir), dir, items });
    }
    folders.sort_by(|a, b| (&a.local, &a.dir).cmp(&(&b.local, &b.dir)));
    Ok(folders)
}

/// Conflicts that nobody has dismissed, by local path.
pub(crate) fn conflicts(kept: &Path) -> io::Result<BTreeMap<PathBuf, usize>> {
    let mut counts = BTreeMap::new();
    for dir in children(kept)? {
        let Some(local) = noted(&dir) else { continue };
        let mut items = Vec::new();
        of_kind(&dir, Kind::Conflict, &mut items)?;
        *counts.entry(local).or_insert(0) += items.len();
    }
    Ok(counts)
}

/// Has the conflicts of the kept directory `folder` counted no more; what was kept stays.
pub(crate) fn dismiss(folder: &Path) -> io::Result<()> {
    let dismissed = folder.join(Kind::Dismissed.dir());
    for moment in children(&folder.join(Kind::Conflict.dir()))? {
        fs::create_dir_all(&dismissed)?;
        // Moments have names of their own, so nothing is in the way.
        fs::rename(&moment, dismissed.join(moment.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn of_kind(folder: &Path, kind: Kind, items: &mut Vec<Item>) -> io::Result<()> {
    let dir = folder.join(kind.dir());
    for dir in children(&dir)? {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(at) = moment_of(&name) else { continue };
        walk(&dir, "", &mut |path, place, meta| {
            items.push(Item { path: path.to_owned(), at, kind, size: meta.len(), room: room(meta), place });
        })?;
    }
    Ok(())
}

/// What a file counts for: what it takes, and no less than what it would take where holes are filled.
pub(super) fn room(meta: &Metadata) -> u64 {
    meta.len().max(meta.blocks().saturating_mul(512))
}

/// Every file and symlink below `dir`. What goes meanwhile (a sweep, a restore) is passed over.
pub(super) fn walk(
    dir: &Path,
    below: &str,
    found: &mut impl FnMut(&str, PathBuf, &Metadata),
) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !ksync_tree::is_temp(name)) else { continue };
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => walk(&entry.path(), &path, found)?,
            Ok(meta) => found(&path, entry.path(), &meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{Kind, conflicts, dismiss, list};
    use crate::kept::note;

    fn put(dir: &Path, path: &str, text: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn each_kind_is_found_with_its_time_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ksync-1");
        note(&folder, "/w".as_ref()).unwrap();
        put(&folder, "deleted/20260101T000000000Z-000001/d/a", "1");
        put(&folder, "deleted/20260102T000000000Z-000002/d/a", "22");
        put(&folder, "accepted/20260103T000000000Z-000003/z", "");
        put(&folder, "replaced/20260104T000000000Z-000004/d/a", "333");
        put(&folder, "replaced/d/a~20260101-000000", "no");
        put(&folder, "conflicts/20260105T000000000Z-000005/b", "");
        put(&folder, "conflicts/20260105T000000000Z-000005/.ksync.x.tmp", "no");
        put(&folder, "dismissed/20260101T000000000Z-000006/b", "");
        let listed = list(dir.path()).unwrap();
        assert_eq!((listed.len(), listed[0].local.as_deref()), (1, Some(Path::new("/w"))));
        let items: Vec<_> =
            listed[0].items.iter().map(|item| (item.path.as_str(), item.kind, item.size)).collect();
        assert_eq!(
            items,
            [
                ("b", Kind::Conflict, 0),
                ("b", Kind::Dismissed, 0),
                ("d/a", Kind::Replaced, 3),
                ("d/a", Kind::Deleted, 2),
                ("d/a", Kind::Deleted, 1),
                ("z", Kind::Accepted, 0),
            ]
        );
        assert_eq!(conflicts(dir.path()).unwrap(), [("/w".into(), 1)].into());
        dismiss(&folder).unwrap();
        assert_eq!(conflicts(dir.path()).unwrap(), [("/w".into(), 0)].into());
        let now = list(dir.path()).unwrap().remove(0).items;
        assert_eq!(now.iter().filter(|item| item.kind == Kind::Dismissed).count(), 2);
        assert!(list(&dir.path().join("none")).unwrap().is_empty());
    }
}
