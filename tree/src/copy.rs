//! Single entries from tree to tree, and out of one. Copies land whole (see [`crate::write`]); a directory is removed
//! only when it is empty.

use crate::entry::Kind;
use crate::error::Error;
use crate::root::{Owner, Root, reading};
use crate::sparse;
use crate::stat::{entry_at, lstat, mtime_of, name_of, open_regular, permissions, size_of};
use crate::write::{
    Attributes, Pending, ensure_dir, ensure_parent, finish_dir, make_way, rename_over, stage_symlink,
};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// How often a file that changes while it is copied is copied anew.
const ATTEMPTS: usize = 3;

/// What [`remove_entry`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// A regular file, symlink or empty directory was there and is gone.
    Gone(Kind),
    /// Nothing was there.
    Missing,
    /// A directory that is not empty was left alone.
    NotEmpty,
}

/// Copies the file, symlink or directory (without what is below it) at `path` to the same path in another tree, with
/// content, mode and mtime. A replaced entry's owner is kept, a new one gets that of its directory; missing parents
/// are made with the modes that they have in `from`.
pub fn copy_entry(from: &Root, to: &Root, path: &str) -> Result<(), Error> {
    copy_to(from, path, to, path, to.owner())
}

/// Moves the entry at `from_path` to `to_path` in another tree; across file systems it is copied, then removed.
/// Missing parents are made. A directory that is not empty is moved only within one file system.
pub fn move_entry(from: &Root, from_path: &str, to: &Root, to_path: &str) -> Result<(), Error> {
    let (source, source_name) = from.parent(from_path)?;
    let (target, target_name) = ensure_parent(to, to_path, to.owner(), |_| 0o755)?;
    make_way(&target, target_name, lstat(&target, target_name, to_path)?.as_ref(), to_path)?;
    match rustix::fs::renameat(&source, source_name, &target, target_name) {
        Ok(()) => Ok(()),
        Err(Errno::XDEV) => {
            copy_to(from, from_path, to, to_path, to.owner())?;
            match remove_entry(from, from_path)? {
                Removed::NotEmpty => Err(Error::NotEmpty { path: from_path.to_owned() }),
                Removed::Gone(_) | Removed::Missing => Ok(()),
            }
        }
        Err(e) => Err(Error::io("move", from_path, e)),
    }
}

/// Removes a file, a symlink, or a directory if it is empty. Sockets, devices and fifos are refused.
pub fn remove_entry(root: &Root, path: &str) -> Result<Removed, Error> {
    let (dir, name) = match root.parent(path) {
        Err(e) if e.is_not_found() => return Ok(Removed::Missing),
        other => other?,
    };
    let Some(stat) = lstat(&dir, name, path)? else { return Ok(Removed::Missing) };
    let (kind, flags) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => (Kind::File, AtFlags::empty()),
        FileType::Symlink => (Kind::Symlink, AtFlags::empty()),
        FileType::Directory => (Kind::Dir, AtFlags::REMOVEDIR),
        other => return Err(Error::WrongKind { path: path.to_owned(), what: name_of(other) }),
    };
    if kind == Kind::Dir && root.is_mount(path) {
        return Ok(Removed::NotEmpty);
    }
    match rustix::fs::unlinkat(&dir, name, flags) {
        Ok(()) => Ok(Removed::Gone(kind)),
        Err(Errno::NOENT) => Ok(Removed::Missing),
        Err(Errno::NOTEMPTY | Errno::EXIST) if kind == Kind::Dir => Ok(Removed::NotEmpty),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

fn copy_to(from: &Root, from_path: &str, to: &Root, to_path: &str, owner: Owner) -> Result<(), Error> {
    let (source, source_name) = from.parent(from_path)?;
    let Some(entry) = entry_at(&source, source_name, from_path, false)? else {
        return Err(Error::io("copy", from_path, Errno::NOENT));
    };
    let (target, target_name) = ensure_parent(to, to_path, owner, |above| mode_in(from, above))?;
    if entry.kind == Kind::Dir {
        let fd = match ensure_dir(&target, target_name, to_path, entry.mode, owner, false)? {
            (fd, true) => fd,
            (_, false) => reading(&target, target_name, to_path)?,
        };
        return finish_dir(&fd, to_path, entry.mode, entry.mtime_ns);
    }
    let temp = stage_copy(from, from_path, &target, target_name, to_path, owner)?;
    rename_over(&target, &temp, target_name, to_path).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = rustix::fs::unlinkat(&target, temp.as_str(), AtFlags::empty());
    })
}

/// Copies a file or symlink into `dir`, where it is to have the name `name`, under a temporary one, and returns that.
pub(crate) fn stage_copy(
    from: &Root,
    from_path: &str,
    dir: &OwnedFd,
    name: &str,
    to_path: &str,
    owner: Owner,
) -> Result<String, Error> {
    let (source, source_name) = from.parent(from_path)?;
    let Some(entry) = entry_at(&source, source_name, from_path, false)? else {
        return Err(Error::io("copy", from_path, Errno::NOENT));
    };
    if entry.kind == Kind::Symlink {
        let attributes = Attributes { mode: entry.mode, mtime_ns: Some(entry.mtime_ns), owner, keep: false };
        let target = entry.target.as_deref().unwrap_or_default();
        return stage_symlink(dir, name, to_path, target, attributes);
    }
    for _ in 0..ATTEMPTS {
        let (mut file, before) = open_regular(&source, source_name, from_path)?;
        let mut pending = Pending::create(dir, to_path)?;
        let copied = sparse::copy(&mut file, pending.file(), size_of(&before));
        let copied = copied.map_err(|e| Error::io("copy", from_path, e))?;
        let after = rustix::fs::fstat(&file).map_err(|e| Error::io("stat", from_path, e))?;
        if copied == size_of(&after) && mtime_of(&before) == mtime_of(&after) {
            let (mode, mtime_ns) = (permissions(&after), Some(mtime_of(&after)));
            return pending.stage(name, Attributes { mode, mtime_ns, owner, keep: false });
        }
    }
    Err(Error::Changed { path: from_path.to_owned() })
}

/// The mode of a directory of the source's, or the usual one where the source has none there.
fn mode_in(from: &Root, path: &str) -> u32 {
    from.directory(path)
        .ok()
        .and_then(|fd| rustix::fs::fstat(fd).ok())
        .map_or(0o755, |stat| permissions(&stat))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::stat_entry;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    fn pair() -> (tempfile::TempDir, tempfile::TempDir, Root, Root) {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (Root::open(a.path()).unwrap(), Root::open(b.path()).unwrap());
        (a, b, from, to)
    }

    #[test]
    fn a_copy_is_equal_and_its_parents_are_made() {
        let (a, b, from, to) = pair();
        fs::create_dir_all(a.path().join("d/e")).unwrap();
        fs::set_permissions(a.path().join("d"), fs::Permissions::from_mode(0o2750)).unwrap();
        fs::write(a.path().join("d/e/f"), "content").unwrap();
        fs::set_permissions(a.path().join("d/e/f"), fs::Permissions::from_mode(0o4751)).unwrap();
        symlink("../../nowhere", a.path().join("d/l")).unwrap();
        for path in ["d/e/f", "d/l", "d/e"] {
            copy_entry(&from, &to, path).unwrap();
            assert_eq!(stat_entry(&to, path, true).unwrap(), stat_entry(&from, path, true).unwrap());
        }
        let mode = |path: &str| fs::metadata(b.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("d"), mode("d/e/f")), (0o750, 0o751), "set-uid and set-gid are each side's own");
        assert!(copy_entry(&from, &to, "none").unwrap_err().is_not_found());
    }

    #[test]
    fn what_is_new_in_a_volume_with_fs_group_belongs_to_the_app() {
        let (a, b, from, to) = pair();
        if chown(b.path(), Some(0), Some(3000)).is_err() {
            return ksync_skip::skipped("files can't be given to others here");
        }
        // As the kubelet leaves a volume.
        fs::set_permissions(b.path(), fs::Permissions::from_mode(0o2775)).unwrap();
        fs::create_dir(a.path().join("d")).unwrap();
        for path in ["f", "d/f", "old"] {
            fs::write(a.path().join(path), "here").unwrap();
        }
        fs::write(b.path().join("old"), "theirs").unwrap();
        chown(b.path().join("old"), Some(1001), Some(3000)).unwrap();
        let to = to.used_by(1000);
        for path in ["f", "d/f", "old"] {
            copy_entry(&from, &to, path).unwrap();
        }
        let owner = |path: &str| {
            let meta = fs::metadata(b.path().join(path)).unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        assert_eq!(owner("f"), (1000, 3000, 0o644));
        assert_eq!((owner("d"), owner("d/f")), ((1000, 3000, 0o2755), (1000, 3000, 0o644)));
        assert_eq!(owner("old"), (1001, 3000, 0o644), "one that is replaced keeps its owner");
        // Elsewhere the directory's owner is the right one.
        fs::set_permissions(b.path(), fs::Permissions::from_mode(0o775)).unwrap();
        fs::write(a.path().join("g"), "here").unwrap();
        copy_entry(&from, &to, "g").unwrap();
        assert_eq!(owner("g"), (0, 3000, 0o644));
    }

    #[test]
    fn owners_come_from_the_place() {
        let (a, b, from, to) = pair();
        if chown(b.path(), Some(21), Some(22)).is_err() {
            return ksync_skip::skipped("files can't be given to others here");
        }
        for name in ["f", "g"] {
            fs::write(a.path().join(name), "new").unwrap();
        }
        symlink("x", a.path().join("l")).unwrap();
        fs::create_dir(a.path().join("d")).unwrap();
        fs::write(b.path().join("f"), "old").unwrap();
        chown(b.path().join("f"), Some(11), Some(12)).unwrap();
        for name in ["f", "g", "l", "d"] {
            copy_entry(&from, &to, name).unwrap();
        }
        let owner =
            |name: &str| fs::symlink_metadata(b.path().join(name)).map(|m| (m.uid(), m.gid())).unwrap();
        assert_eq!(
            [owner("f"), owner("g"), owner("l"), owner("d")],
            [(11, 12), (21, 22), (21, 22), (21, 22)]
        );
    }

    #[test]
    fn removal_never_takes_more_than_it_was_told() {
        let (a, _b, from, _to) = pair();
        fs::create_dir_all(a.path().join("full/x")).unwrap();
        fs::write(a.path().join("f"), "").unwrap();
        symlink("full", a.path().join("l")).unwrap();
        assert_eq!(remove_entry(&from, "full").unwrap(), Removed::NotEmpty);
        assert_eq!(remove_entry(&from, "l").unwrap(), Removed::Gone(Kind::Symlink));
        assert_eq!(remove_entry(&from, "full/x").unwrap(), Removed::Gone(Kind::Dir));
        assert_eq!(remove_entry(&from, "f").unwrap(), Removed::Gone(Kind::File));
        assert_eq!(remove_entry(&from, "f").unwrap(), Removed::Missing);
        assert_eq!(remove_entry(&from, "f2/f").unwrap(), Removed::Missing);
        assert!(remove_entry(&from, "../f").is_err());
    }

    #[test]
    fn moves_go_into_made_directories_and_keep_full_ones() {
        let (a, b, from, to) = pair();
        fs::create_dir_all(a.path().join("d/e")).unwrap();
        fs::write(a.path().join("d/e/f"), "1").unwrap();
        move_entry(&from, "d", &to, "kept/2026/d").unwrap();
        assert_eq!(fs::read(b.path().join("kept/2026/d/e/f")).unwrap(), b"1");
        fs::write(a.path().join("d"), "2").unwrap();
        assert!(matches!(move_entry(&from, "d", &to, "kept/2026/d"), Err(Error::NotEmpty { .. })));
        assert!(a.path().join("d").exists());
    }

    #[test]
    fn a_move_across_file_systems_copies() {
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            return ksync_skip::skipped("no second file system at /dev/shm");
        };
        let (a, _b, from, _to) = pair();
        let to = Root::open(other.path()).unwrap();
        fs::write(a.path().join("f"), "x").unwrap();
        let before = stat_entry(&from, "f", true).unwrap();
        move_entry(&from, "f", &to, "g/f").unwrap();
        let after = stat_entry(&to, "g/f", true).unwrap().map(|e| crate::Entry { path: "f".into(), ..e });
        assert_eq!((after, a.path().join("f").exists()), (before, false));
    }
}
