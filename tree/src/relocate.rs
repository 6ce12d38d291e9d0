//! Moving an entry to a place where nothing stands. Whatever comes into the way meanwhile, no content is lost: a target
//! is never replaced, and across file systems the source goes only when it still is what was copied.

use crate::entry::{Entry, Kind};
use crate::error::Error;
use crate::path::join;
use crate::root::{Owner, Root};
use crate::sparse;
use crate::stat::{Exact, entry_at, lstat, open_regular};
use crate::write::{Attributes, Pending, ensure_parent, place_new, temp_name, write_symlink};
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// Moves the file, symlink or directory at `from_path` to `to_path`; `false` when something stands there: it stays as
/// it is, and the source too. Missing parents are made. A directory that is not empty is moved only within one file
/// system. [`Error::Changed`] when the source was written while it was copied to another file system; it stays then.
pub fn move_new(from: &Root, from_path: &str, to: &Root, to_path: &str) -> Result<bool, Error> {
    let (source, source_name) = from.parent(from_path)?;
    let (target, target_name) = ensure_parent(to, to_path, Owner::AsIs, |_| 0o755)?;
    match rustix::fs::renameat_with(&source, source_name, &target, target_name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // Another file system, or one that can't rename without replacing.
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let source = NameAt { dir: &source, name: source_name, path: from_path };
            across(&source, &NameAt { dir: &target, name: target_name, path: to_path })
        }
        Err(e) => Err(Error::io("move", from_path, e)),
    }
}

/// A name in an open directory, and the path that errors call it by.
struct NameAt<'a> {
    dir: &'a OwnedFd,
    name: &'a str,
    path: &'a str,
}

fn across(source: &NameAt<'_>, target: &NameAt<'_>) -> Result<bool, Error> {
    let gone = || Error::io("move", source.path, Errno::NOENT);
    let before = Exact::of(&lstat(source.dir, source.name, source.path)?.ok_or_else(gone)?);
    let entry = entry_at(source.dir, source.name, source.path, false)?.ok_or_else(gone)?;
    let attributes =
        Attributes { mode: entry.mode, mtime_ns: Some(entry.mtime_ns), owner: Owner::AsIs, keep: true };
    let placed = match &entry.kind {
        Kind::Dir => return directory(source, target, &entry),
        Kind::Symlink => {
            let to = entry.target.as_deref().unwrap_or_default();
            write_symlink(target.dir, target.name, target.path, to, attributes)?
        }
        Kind::File => {
            let (mut file, _) = open_regular(source.dir, source.name, source.path)?;
            let mut pending = Pending::create(target.dir, target.path)?;
            sparse::copy(&mut file, pending.file(), before.size)
                .map_err(|e| Error::io("copy", source.path, e))?;
            // The source goes next: what replaces it has to be on the disk.
            pending.file().sync_all().map_err(|e| Error::io("write", target.path, e))?;
            let after = rustix::fs::fstat(&file).map_err(|e| Error::io("stat", source.path, e))?;
            if Exact::of(&after) != before {
                return Err(Error::Changed { path: source.path.to_owned() });
            }
            pending.commit(target.name, attributes)?
        }
    };
    if !placed {
        return Ok(false);
    }
    remove_unchanged(source, &before).inspect_err(|_| {
        // The source stays, so the copy goes; the source's error is the one to tell.
        let _ = rustix::fs::unlinkat(target.dir, target.name, AtFlags::empty());
    })?;
    Ok(true)
}

fn directory(source: &NameAt<'_>, target: &NameAt<'_>, entry: &Entry) -> Result<bool, Error> {
    let mode = Mode::from_bits_truncate(entry.mode as _);
    match rustix::fs::mkdirat(target.dir, target.name, mode) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(e) => return Err(Error::io("create the directory", target.path, e)),
    }
    rustix::fs::unlinkat(source.dir, source.name, AtFlags::REMOVEDIR).map_err(|e| {
        // Only an empty one goes: that is the one that was made here.
        let _ = rustix::fs::unlinkat(target.dir, target.name, AtFlags::REMOVEDIR);
        match e {
            Errno::NOTEMPTY | Errno::EXIST => Error::NotEmpty { path: source.path.to_owned() },
            e => Error::io("move", source.path, e),
        }
    })?;
    Ok(true)
}

/// Takes the name away first and looks at what it was then: no write by name can come in between.
fn remove_unchanged(source: &NameAt<'_>, before: &Exact) -> Result<(), Error> {
    let temp = temp_name();
    let failed = |e| Error::io("move", source.path, e);
    rustix::fs::renameat(source.dir, source.name, source.dir, temp.as_str()).map_err(failed)?;
    let now = lstat(source.dir, &temp, source.path)?;
    if now.is_some_and(|stat| Exact::of(&stat).same_content(before)) {
        return rustix::fs::unlinkat(source.dir, temp.as_str(), AtFlags::empty()).map_err(failed);
    }
    if place_new(source.dir, &temp, source.name, source.path)? {
        return Err(Error::Changed { path: source.path.to_owned() });
    }
    let above = source.path.rsplit_once('/').map_or("", |(above, _)| above);
    Err(Error::io("put back", &join(above, &temp), Errno::EXIST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::{stat_entry, stat_exact};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// Two trees on one file system, and where there is one, on two.
    fn pairs() -> Vec<(tempfile::TempDir, tempfile::TempDir)> {
        let here = || tempfile::tempdir().unwrap();
        let mut pairs = vec![(here(), here())];
        pairs.extend(tempfile::tempdir_in("/dev/shm").ok().map(|other| (here(), other)));
        pairs
    }

    fn roots(a: &Path, b: &Path) -> (Root, Root) {
        (Root::open(a).unwrap(), Root::open(b).unwrap())
    }

    #[test]
    fn an_entry_arrives_as_it_was() {
        for (a, b) in pairs() {
            let (from, to) = roots(a.path(), b.path());
            fs::write(a.path().join("f"), "x").unwrap();
            symlink("nowhere", a.path().join("l")).unwrap();
            fs::create_dir(a.path().join("d")).unwrap();
            for name in ["f", "l", "d"] {
                let before = stat_entry(&from, name, true).unwrap().unwrap();
                let path = format!("kept/x/{name}");
                assert!(move_new(&from, name, &to, &path).unwrap(), "{name}");
                let after = stat_entry(&to, &path, true).unwrap().unwrap();
                let mtime_ns = if name == "d" { after.mtime_ns } else { before.mtime_ns };
                assert_eq!(after, Entry { path, mtime_ns, ..before });
            }
            assert_eq!(fs::read_dir(a.path()).unwrap().count(), 0);
            assert_eq!(fs::read_dir(b.path().join("kept/x")).unwrap().count(), 3, "no temporary stays");
            assert!(move_new(&from, "none", &to, "none").unwrap_err().is_not_found());
        }
    }

    #[test]
    fn what_stands_there_is_never_replaced() {
        for (a, b) in pairs() {
            let (from, to) = roots(a.path(), b.path());
            fs::write(a.path().join("f"), "mine").unwrap();
            symlink("mine", a.path().join("l")).unwrap();
            fs::create_dir(a.path().join("d")).unwrap();
            fs::write(b.path().join("taken"), "theirs").unwrap();
            fs::create_dir(b.path().join("empty")).unwrap();
            for name in ["f", "l", "d"] {
                for path in ["taken", "empty"] {
                    assert!(!move_new(&from, name, &to, path).unwrap(), "{name} to {path}");
                }
            }
            assert_eq!(fs::read_to_string(b.path().join("taken")).unwrap(), "theirs");
            assert!(b.path().join("empty").is_dir());
            assert_eq!(fs::read_to_string(a.path().join("f")).unwrap(), "mine");
            assert_eq!(fs::read_dir(a.path()).unwrap().count(), 3);
            assert_eq!(fs::read_dir(b.path()).unwrap().count(), 2, "no temporary stays");
        }
    }

    #[test]
    fn a_full_directory_stays_where_it_would_have_to_be_copied() {
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            return ksync_skip::skipped("no second file system at /dev/shm");
        };
        let a = tempfile::tempdir().unwrap();
        fs::create_dir_all(a.path().join("d/e")).unwrap();
        let (from, to) = roots(a.path(), other.path());
        assert!(matches!(move_new(&from, "d", &to, "d"), Err(Error::NotEmpty { .. })));
        assert!(a.path().join("d/e").exists() && !other.path().join("d").exists());
    }

    #[test]
    fn a_source_that_was_written_or_replaced_is_put_back() {
        let a = tempfile::tempdir().unwrap();
        let root = Root::open(a.path()).unwrap();
        let (dir, name) = root.parent("f").unwrap();
        let source = NameAt { dir: &dir, name, path: "f" };
        fs::write(a.path().join("f"), "one").unwrap();
        let before = stat_exact(&root, "f").unwrap().unwrap();
        fs::write(a.path().join("f"), "longer").unwrap();
        assert!(matches!(remove_unchanged(&source, &before), Err(Error::Changed { .. })));
        assert_eq!(fs::read_to_string(a.path().join("f")).unwrap(), "longer");
        let now = stat_exact(&root, "f").unwrap().unwrap();
        remove_unchanged(&source, &now).unwrap();
        assert_eq!(fs::read_dir(a.path()).unwrap().count(), 0);
    }
}
