//! New entries, made beside their place under a private name and put there by compare-and-swap.
//!
//! Invariant: an entry is complete, with its owner, mode and mtime, before it has its name.

use super::{Known, Old, Swapped, between, place, stands};
use crate::entry::{Entry, Kind};
use crate::error::Error;
use crate::power::Directory;
use crate::root::{Owner, Root, reading};
use crate::sparse;
use crate::stat::{Exact, lstat, open_regular, permissions};
use crate::write::{
    Attributes, displaced_name, ensure_dir, ensure_parent, give_attributes, set_own_mode, stage_symlink,
    times, write_with_room,
};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;

/// What a new file was just before it got its place, by which it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// Its inode, size and times.
    pub exact: Exact,
    /// The permission bits that the file system gave it.
    pub mode: u32,
}

/// A regular file that is being made. Dropped, it is removed.
#[derive(Debug)]
pub struct Staging {
    dir: Directory,
    name: String,
    path: String,
    temp: String,
    /// Whom what is in this root belongs to.
    usual: Owner,
    /// None once it is complete: who has it open for writing counts as a writer.
    file: Option<File>,
    /// How much of it is there.
    size: u64,
    live: bool,
}

impl Staging {
    /// An empty file beside `path`, readable by nobody else yet. Its directory must exist.
    pub fn new(root: &Root, path: &str) -> Result<Self, Error> {
        let (dir, name) = root.parent(path)?;
        let temp = displaced_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, temp.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| Error::io("create", path, e))?;
        let (name, path) = (name.to_owned(), path.to_owned());
        Ok(Self {
            dir: dir.leave(),
            name,
            path,
            temp,
            usual: root.owner(),
            file: Some(File::from(file)),
            size: 0,
            live: true,
        })
    }

    /// Adds a piece of its content.
    pub fn add(&mut self, content: &[u8]) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        sparse::write(file, self.size, content).map_err(|e| Error::io("write", &self.path, e))?;
        self.size += content.len() as u64;
        Ok(())
    }

    /// Has what was written so far be on the disk.
    pub fn sync(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_all().map_err(|e| Error::io("write", &self.path, e))
    }

    /// Writes all of its content, which is small: zeros in it are not looked for.
    pub fn fill(&mut self, content: &[u8]) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Ok(()) };
        write_with_room(file, content, &self.path)
    }

    /// Gives it the mode and mtime of `new`, and its place while what stands there is the `known` entry; returns also what it
    /// was just before that, by which it is known again.
    pub fn place(
        mut self,
        new: &Entry,
        owner: Owner,
        known: Known<'_>,
        old: Old,
    ) -> Result<(Swapped, Staged), Error> {
        let _stay = self.dir.enter(&self.path)?;
        let there = lstat(&self.dir, &self.name, &self.path)?;
        let owner = if owner == Owner::FromParent { self.usual } else { owner };
        let attributes = Attributes { mode: new.mode, mtime_ns: Some(new.mtime_ns), owner, keep: false };
        if let Some(file) = self.file.take() {
            give_attributes(&file, &self.dir, there.as_ref(), attributes, &self.path)?;
        }
        let staged = lstat(&self.dir, &self.temp, &self.path)?;
        let staged = staged.ok_or_else(|| Error::io("stat", &self.path, Errno::NOENT))?;
        self.live = false;
        let swapped = place(&self.dir, &self.temp, &self.name, &self.path, known, old)?;
        Ok((swapped, Staged { exact: Exact::of(&staged), mode: permissions(&staged) }))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.live
            && let Ok(_stay) = self.dir.enter(&self.path)
        {
            // The error that ends the write is already on its way; a leftover is ignored by name everywhere.
            let _ = rustix::fs::unlinkat(&self.dir, self.temp.as_str(), AtFlags::empty());
        }
    }
}

/// Whom a new entry belongs to.
fn usual(root: &Root, owner: Owner) -> Owner {
    if owner == Owner::FromParent { root.owner() } else { owner }
}

/// Makes the directories that `path` is in, where they are missing, for the writing user alone.
pub fn make_parents(root: &Root, path: &str) -> Result<(), Error> {
    ensure_parent(root, path, Owner::AsIs, |_| 0o700).map(drop)
}

/// Puts a symlink at `path` while what stands there is the `known` entry.
pub fn put_symlink(
    root: &Root,
    path: &str,
    new: &Entry,
    owner: Owner,
    known: Known<'_>,
    old: Old,
) -> Result<Swapped, Error> {
    let (dir, name) = root.parent(path)?;
    let owner = usual(root, owner);
    let attributes = Attributes { mode: 0o777, mtime_ns: Some(new.mtime_ns), owner, keep: false };
    let made = stage_symlink(&dir, name, path, new.target.as_deref().unwrap_or_default(), attributes)?;
    let temp = displaced_name();
    rustix::fs::renameat(&dir, made.as_str(), &dir, temp.as_str())
        .map_err(|e| Error::io("stage", path, e))?;
    place(&dir, &temp, name, path, known, old)
}

/// Makes a directory at `path` while what stands there is the `known` entry. One that stands there already gets the mode.
pub fn put_dir(
    root: &Root,
    path: &str,
    new: &Entry,
    owner: Owner,
    known: Known<'_>,
    old: Old,
) -> Result<Swapped, Error> {
    let (dir, name) = root.parent(path)?;
    let owner = usual(root, owner);
    let displaced = match known {
        Known::Nothing => None,
        Known::Entry(entry) if entry.kind == Kind::Dir => {
            set_attributes(root, path, new)?;
            return Ok(Swapped::Done);
        }
        Known::Entry(entry) => {
            if !stands(&dir, name, path, known)? {
                return Ok(Swapped::Refused);
            }
            match super::remove_known(root, path, entry, old)? {
                Swapped::Done => None,
                Swapped::Refused => return Ok(Swapped::Refused),
                Swapped::Held(displaced) => Some(displaced),
            }
        }
    };
    between(super::Point::Moved);
    if displaced.is_none() && lstat(&dir, name, path)?.is_some() {
        return Ok(Swapped::Refused);
    }
    let made = ensure_dir(&dir, name, path, new.mode, owner, true);
    match (made, displaced) {
        (_, Some(displaced)) => Ok(Swapped::Held(displaced)),
        (Ok(_), None) => Ok(Swapped::Done),
        (Err(Error::NotADirectory { .. }), None) => Ok(Swapped::Refused),
        (Err(error), None) => Err(error),
    }
}

/// Gives what stands at `path` the mode of `new`, and a file its mtime; returns what it is then. Its content is whatever it
/// is. None for a symlink, which has no such attributes.
pub fn set_attributes(root: &Root, path: &str, new: &Entry) -> Result<Option<Staged>, Error> {
    let (dir, name) = root.parent(path)?;
    if new.kind == Kind::Symlink {
        return Ok(None);
    }
    let fd: OwnedFd = if new.kind == Kind::File {
        open_regular(&dir, name, path)?.0.into()
    } else {
        reading(&dir, name, path)?
    };
    set_own_mode(&fd, path, new.mode)?;
    if new.kind == Kind::File {
        rustix::fs::futimens(&fd, &times(new.mtime_ns))
            .map_err(|e| Error::io("set the mtime of", path, e))?;
    }
    let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("stat", path, e))?;
    Ok(Some(Staged { exact: Exact::of(&stat), mode: permissions(&stat) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::sweep_unfinished;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    struct Here {
        dir: tempfile::TempDir,
        root: Root,
    }

    impl Here {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = Root::open(dir.path()).unwrap();
            Self { dir, root }
        }

        fn at(&self, path: &str) -> std::path::PathBuf {
            self.dir.path().join(path)
        }

        fn known(&self, path: &str) -> Entry {
            crate::stat_entry(&self.root, path, true).unwrap().unwrap()
        }

        fn put(&self, content: &str, known: Known<'_>, old: Old) -> Swapped {
            let mut staging = Staging::new(&self.root, "f").unwrap();
            staging.fill(content.as_bytes()).unwrap();
            let new = Entry { mtime_ns: 5_000_000_000, mode: 0o640, ..entry("f", Kind::File) };
            staging.place(&new, Owner::AsIs, known, old).unwrap().0
        }

        fn names(&self) -> Vec<String> {
            let all = fs::read_dir(self.dir.path()).unwrap();
            let mut names: Vec<_> = all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.to_owned(), kind, size: 0, mtime_ns: 0, mode: 0o755, hash: None, target: None }
    }

    #[test]
    fn a_file_is_put_where_nothing_else_than_known_stands() {
        let here = Here::new();
        assert!(matches!(here.put("one", Known::Nothing, Old::Dropped), Swapped::Done));
        assert_eq!(fs::read_to_string(here.at("f")).unwrap(), "one");
        assert_eq!(fs::metadata(here.at("f")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(here.known("f").mtime_ns, 5_000_000_000);
        assert!(matches!(here.put("two", Known::Nothing, Old::Dropped), Swapped::Refused));
        let known = here.known("f");
        assert!(matches!(here.put("two", Known::Entry(&known), Old::Dropped), Swapped::Done));
        assert!(matches!(here.put("three", Known::Entry(&known), Old::Dropped), Swapped::Refused));
        assert_eq!(
            (fs::read_to_string(here.at("f")).unwrap().as_str(), here.names()),
            ("two", vec!["f".into()])
        );
    }

    #[test]
    fn an_old_file_that_is_held_survives_a_sweep() {
        let here = Here::new();
        fs::write(here.at("f"), "old").unwrap();
        let known = here.known("f");
        let Swapped::Held(displaced) = here.put("new", Known::Entry(&known), Old::Held) else {
            panic!("not held");
        };
        assert_eq!(sweep_unfinished(&here.root, &[], std::time::Duration::ZERO).unwrap(), 0);
        assert_eq!(fs::read_to_string(here.at(displaced.at())).unwrap(), "old");
        assert_eq!(displaced.judge().unwrap(), super::super::Verdict::Same);
        displaced.discard().unwrap();
        assert_eq!(here.names(), ["f"]);
    }

    #[test]
    fn a_directory_takes_the_place_of_a_symlink_and_back() {
        let here = Here::new();
        symlink("/etc", here.at("d")).unwrap();
        let link = here.known("d");
        let dir = entry("d", Kind::Dir);
        let made = put_dir(&here.root, "d", &dir, Owner::AsIs, Known::Entry(&link), Old::Held).unwrap();
        let Swapped::Held(displaced) = made else { panic!("not held") };
        assert!(fs::symlink_metadata(here.at("d")).unwrap().is_dir());
        assert_eq!(fs::read_link(here.at(displaced.at())).unwrap().to_str(), Some("/etc"));
        displaced.discard().unwrap();
        // The other way round the directory goes first.
        fs::write(here.at("d/f"), "").unwrap();
        let dir = here.known("d");
        let refused = super::super::remove_known(&here.root, "d", &dir, Old::Dropped).unwrap();
        assert!(matches!(refused, Swapped::Refused));
        fs::remove_file(here.at("d/f")).unwrap();
        let gone = super::super::remove_known(&here.root, "d", &dir, Old::Dropped).unwrap();
        assert!(matches!(gone, Swapped::Done));
        let put = put_symlink(&here.root, "d", &link, Owner::AsIs, Known::Nothing, Old::Dropped).unwrap();
        assert!(matches!(put, Swapped::Done));
        assert_eq!(here.known("d").target, link.target);
        let again = put_dir(&here.root, "d", &dir, Owner::AsIs, Known::Nothing, Old::Dropped).unwrap();
        assert!(matches!(again, Swapped::Refused));
        assert_eq!(here.names(), ["d"]);
    }

    #[test]
    fn a_sparse_file_is_sparse_in_its_place_and_in_its_copies() {
        let (here, kept) = (Here::new(), Here::new());
        let mut staging = Staging::new(&here.root, "f").unwrap();
        let zeros = vec![0; 4 << 20];
        for piece in [&b"head"[..], &zeros, b"middle", &zeros] {
            staging.add(piece).unwrap();
        }
        let (swapped, staged) =
            staging.place(&entry("f", Kind::File), Owner::AsIs, Known::Nothing, Old::Dropped).unwrap();
        assert!(matches!(swapped, Swapped::Done));
        crate::copy_entry(&here.root, &kept.root, "f").unwrap();
        for at in [here.at("f"), kept.at("f")] {
            let (meta, content) = (fs::metadata(&at).unwrap(), fs::read(at).unwrap());
            assert_eq!((meta.len(), content.len()), (staged.exact.size, (8 << 20) + 10));
            assert!(content.starts_with(b"head\0") && content[4 + (4 << 20)..].starts_with(b"middle\0"));
            assert!(meta.blocks() * 512 < 64 << 10, "{} blocks", meta.blocks());
        }
    }

    #[test]
    fn an_unfinished_file_is_gone_when_it_is_dropped() {
        let here = Here::new();
        let mut staging = Staging::new(&here.root, "f").unwrap();
        staging.add(b"half").unwrap();
        drop(staging);
        assert_eq!(here.names(), Vec::<String>::new());
    }

    #[test]
    fn attributes_leave_the_content_and_write_no_special_bit() {
        let here = Here::new();
        fs::write(here.at("f"), "text").unwrap();
        let ino = fs::metadata(here.at("f")).unwrap().ino();
        rustix::fs::chmod(here.at("f"), Mode::from_raw_mode(0o4755)).unwrap();
        let new = Entry { mtime_ns: 7, mode: 0o2600, ..entry("f", Kind::File) };
        set_attributes(&here.root, "f", &new).unwrap();
        let meta = fs::metadata(here.at("f")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime_nsec(), meta.ino()), (0o600, 7, ino));
        assert_eq!(fs::read_to_string(here.at("f")).unwrap(), "text");
        // A directory's are what a volume's group rests on.
        fs::create_dir(here.at("d")).unwrap();
        rustix::fs::chmod(here.at("d"), Mode::from_raw_mode(0o2755)).unwrap();
        set_attributes(&here.root, "d", &Entry { mode: 0o750, ..entry("d", Kind::Dir) }).unwrap();
        assert_eq!(fs::metadata(here.at("d")).unwrap().mode() & 0o7777, 0o2750);
    }
}
