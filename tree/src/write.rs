//! How anything gets into a tree: written under a temporary name beside its place, given owner, mode and mtime there,
//! and renamed. A reader sees the old entry or the new one, whole; an error leaves nothing behind.

use crate::error::Error;
use crate::power::Entered;
use crate::root::{Owner, Root, reading, through};
use crate::stat::{PERMISSIONS, lstat, permissions};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// How the names of unfinished files start.
pub const TEMP_PREFIX: &str = ".ksync.";
/// How the names of unfinished files end.
pub const TEMP_SUFFIX: &str = ".tmp";

/// Whether `name` (one component) is that of an unfinished file of ours.
pub fn is_temp(name: &str) -> bool {
    name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX)
}

/// Whether `name` (one component) belongs to syncthing, which never syncs it: its marker, its patterns, its
/// unfinished files.
pub(crate) fn is_internal(name: &str) -> bool {
    matches!(name, ".stignore" | ".stfolder") || is_syncthings_temp(name)
}

fn is_syncthings_temp(name: &str) -> bool {
    name.ends_with(TEMP_SUFFIX) && (name.starts_with(".syncthing.") || name.starts_with("~syncthing~"))
}

/// Whether `name` (one component) is that of an unfinished file, ours or syncthing's, of which nothing is lost with it.
pub(crate) fn is_unfinished(name: &str) -> bool {
    is_temp(name) && !is_displaced(name) || is_syncthings_temp(name)
}

/// What an entry is given before it is renamed into place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) mtime_ns: Option<i64>,
    pub(crate) owner: Owner,
    /// Leaves what is there already.
    pub(crate) keep: bool,
}

/// A file under its temporary name; dropped without [`Pending::commit`], it is removed.
#[derive(Debug)]
pub(crate) struct Pending<'d> {
    dir: &'d OwnedFd,
    path: &'d str,
    temp: String,
    file: File,
    live: bool,
}

impl<'d> Pending<'d> {
    /// Creates an empty file in `dir`, readable by nobody else yet. `path` is what errors name.
    pub(crate) fn create(dir: &'d OwnedFd, path: &'d str) -> Result<Self, Error> {
        let temp = temp_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, temp.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| Error::io("create", path, e))?;
        Ok(Self { dir, path, temp, file: File::from(fd), live: true })
    }

    /// Where the content goes.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Sets the attributes that the file is to have under `name`, and leaves it under its temporary name, which is the
    /// caller's to look after from here on. Of the attributes, `keep` does not count.
    pub(crate) fn stage(mut self, name: &str, attributes: Attributes) -> Result<String, Error> {
        let there = lstat(self.dir, name, self.path)?;
        self.prepare(there.as_ref(), attributes)?;
        self.live = false;
        Ok(self.temp.clone())
    }

    /// Sets the attributes and puts the file in its place under `name`; `false` where `keep` left another one there.
    pub(crate) fn commit(mut self, name: &str, attributes: Attributes) -> Result<bool, Error> {
        let there = lstat(self.dir, name, self.path)?;
        self.prepare(there.as_ref(), attributes)?;
        if attributes.keep {
            self.live = !place_new(self.dir, &self.temp, name, self.path)?;
            return Ok(!self.live);
        }
        rename_over(self.dir, &self.temp, name, self.path)?;
        self.live = false;
        Ok(true)
    }

    fn prepare(&self, there: Option<&Stat>, attributes: Attributes) -> Result<(), Error> {
        give_attributes(&self.file, self.dir, there, attributes, self.path)
    }
}

/// Gives an unfinished file the attributes that it is to have in the place of what is `there`.
pub(crate) fn give_attributes(
    file: &File,
    dir: &OwnedFd,
    there: Option<&Stat>,
    attributes: Attributes,
    path: &str,
) -> Result<(), Error> {
    rustix::fs::fchmod(file, mode_of(attributes.mode)).map_err(|e| Error::io("chmod", path, e))?;
    if let Some(mtime_ns) = attributes.mtime_ns {
        rustix::fs::futimens(file, &times(mtime_ns)).map_err(|e| Error::io("set the mtime of", path, e))?;
    }
    // Last: what was given away may be out of reach.
    match owner_for(dir, there, attributes.owner, path)? {
        Some(owner) => chown(file, owner, path),
        None => Ok(()),
    }
}

/// Makes room for `content` in a new file, and writes it: where the file system gives blocks out late (ext4), a rename over
/// another file would wait until they are given out and on their way to the disk.
pub(crate) fn write_with_room(file: &mut File, content: &[u8], path: &str) -> Result<(), Error> {
    #[cfg(target_os = "linux")]
    if !content.is_empty() {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(&*file, FallocateFlags::empty(), 0, content.len() as u64) {
            // Not every file system can, and none has to.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => {}
            Err(e) => return Err(Error::io("write", path, e)),
        }
    }
    file.write_all(content).map_err(|e| Error::io("write", path, e))
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.live {
            // The error that ends the write is already on its way; a leftover is ignored by name everywhere.
            let _ = rustix::fs::unlinkat(self.dir, self.temp.as_str(), AtFlags::empty());
        }
    }
}

/// Writes a regular file as a whole, in a directory that exists. `mode: None` keeps that of the file it replaces,
/// else 0644; the mtime is now.
#[cfg(test)]
pub(crate) fn write_file(
    root: &Root,
    path: &str,
    content: &[u8],
    mode: Option<u32>,
    owner: Owner,
) -> Result<(), Error> {
    let (dir, name) = root.parent(path)?;
    let mode = match (mode, lstat(&dir, name, path)?) {
        (Some(mode), _) => mode,
        (None, Some(stat)) if FileType::from_raw_mode(stat.st_mode).is_file() => permissions(&stat),
        (None, _) => 0o644,
    };
    let mut pending = Pending::create(&dir, path)?;
    pending.file().write_all(content).map_err(|e| Error::io("write", path, e))?;
    pending.commit(name, Attributes { mode, mtime_ns: None, owner, keep: false }).map(drop)
}

/// Puts a symlink in its place; `false` where `keep` left something else there.
pub(crate) fn write_symlink(
    dir: &OwnedFd,
    name: &str,
    path: &str,
    target: &[u8],
    attributes: Attributes,
) -> Result<bool, Error> {
    let temp = stage_symlink(dir, name, path, target, attributes)?;
    let placed = if attributes.keep {
        place_new(dir, &temp, name, path)
    } else {
        rename_over(dir, &temp, name, path).map(|()| true)
    };
    if !matches!(placed, Ok(true)) {
        // As in `Pending`: the first error is the one to tell.
        let _ = rustix::fs::unlinkat(dir, temp.as_str(), AtFlags::empty());
    }
    placed
}

/// Makes the symlink that is to have the name `name` under a temporary one, and returns that.
pub(crate) fn stage_symlink(
    dir: &OwnedFd,
    name: &str,
    path: &str,
    target: &[u8],
    attributes: Attributes,
) -> Result<String, Error> {
    let there = lstat(dir, name, path)?;
    let temp = temp_name();
    rustix::fs::symlinkat(target, dir, temp.as_str())
        .map_err(|e| Error::io("create the symlink", path, e))?;
    let prepared = (|| {
        if let Some(mtime_ns) = attributes.mtime_ns {
            rustix::fs::utimensat(dir, temp.as_str(), &times(mtime_ns), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| Error::io("set the mtime of", path, e))?;
        }
        match owner_for(dir, there.as_ref(), attributes.owner, path)? {
            Some(owner) => chown_symlink(dir, &temp, owner, path),
            None => Ok(()),
        }
    })();
    match prepared {
        Ok(()) => Ok(temp),
        Err(error) => {
            let _ = rustix::fs::unlinkat(dir, temp.as_str(), AtFlags::empty());
            Err(error)
        }
    }
}

/// Gives a temporary entry its name, whatever stands there but a directory that is not empty.
pub(crate) fn rename_over(dir: &OwnedFd, temp: &str, name: &str, path: &str) -> Result<(), Error> {
    make_way(dir, name, lstat(dir, name, path)?.as_ref(), path)?;
    rustix::fs::renameat(dir, temp, dir, name).map_err(|e| Error::io("rename into place", path, e))
}

/// Gives a temporary entry its name unless something has it already; tells whether it did.
pub(crate) fn place_new(dir: &OwnedFd, temp: &str, name: &str, path: &str) -> Result<bool, Error> {
    let failed = |e| Error::io("rename into place", path, e);
    match rustix::fs::renameat_with(dir, temp, dir, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // A file system without this flag: a second name never replaces one either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            match rustix::fs::linkat(dir, temp, dir, name, AtFlags::empty()) {
                Ok(()) => {
                    rustix::fs::unlinkat(dir, temp, AtFlags::empty()).map_err(failed)?;
                    Ok(true)
                }
                Err(Errno::EXIST) => Ok(false),
                // And one without hard links: the look and the rename are two steps there.
                Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    if lstat(dir, name, path)?.is_some() {
                        return Ok(false);
                    }
                    rustix::fs::renameat(dir, temp, dir, name).map_err(failed)?;
                    Ok(true)
                }
                Err(e) => Err(failed(e)),
            }
        }
        Err(e) => Err(failed(e)),
    }
}

/// Makes sure that `name` in `dir` is a directory and opens it for reading. A new one gets `mode` and, where asked,
/// its parent's owner; of an existing one nothing is changed. What is no directory is replaced, or an error with `keep`.
pub(crate) fn ensure_dir(
    dir: &OwnedFd,
    name: &str,
    path: &str,
    mode: u32,
    owner: Owner,
    keep: bool,
) -> Result<(OwnedFd, bool), Error> {
    if let Some(stat) = lstat(dir, name, path)? {
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Ok((reading(dir, name, path)?, false));
        }
        if keep {
            return Err(Error::NotADirectory { path: path.to_owned() });
        }
        rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(|e| Error::io("replace", path, e))?;
    }
    match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok((reading(dir, name, path)?, false)),
        Err(e) => return Err(Error::io("create the directory", path, e)),
    }
    let fd = reading(dir, name, path)?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("stat", path, e))?;
    // As the system made it, of a set-gid directory a set-gid one.
    set_own_mode(&fd, path, mode)?;
    // Somebody in a hostile tree may have put another directory there: only what looks like ours is given away.
    if let Some(parent) = owner_for(dir, None, owner, path)?
        && permissions(&stat) == 0o700
    {
        chown(&fd, parent, path)?;
    }
    Ok((fd, true))
}

/// Opens the directory that `path` is in, creating what is missing on the way and replacing nothing. A missing directory
/// gets the mode that `mode_for` gives for its path.
pub(crate) fn ensure_parent<'p>(
    root: &Root,
    path: &'p str,
    owner: Owner,
    mode_for: impl Fn(&str) -> u32,
) -> Result<(Entered, &'p str), Error> {
    match root.parent(path) {
        Err(e) if e.is_not_found() => {}
        other => return other,
    }
    let names = crate::path::components(path)?;
    let Some((name, above)) = names.split_last() else { return root.parent(path) };
    let mut dir = root.reading()?;
    let mut done = 0;
    for component in above {
        done += component.len();
        let here = path.get(..done).unwrap_or(path);
        let below = match through(&dir, component, here) {
            Err(e) if e.is_not_found() => ensure_dir(&dir, component, here, mode_for(here), owner, true)?.0,
            other => other?,
        };
        dir = dir.with(below);
        done += 1;
    }
    Ok((dir, name))
}

/// Gives a directory its mode and mtime, after everything below it is in place.
pub(crate) fn finish_dir(fd: &OwnedFd, path: &str, mode: u32, mtime_ns: i64) -> Result<(), Error> {
    set_own_mode(fd, path, mode)?;
    rustix::fs::futimens(fd, &times(mtime_ns)).map_err(|e| Error::io("set the mtime of", path, e))
}

/// Gives an open entry its permission bits. What a directory has beside them stays; on a file no such bit is ever written,
/// for it is a power that whoever may have written the file would have.
pub(crate) fn set_own_mode(fd: &OwnedFd, path: &str, mode: u32) -> Result<(), Error> {
    let stat = rustix::fs::fstat(fd).map_err(|e| Error::io("stat", path, e))?;
    if permissions(&stat) == mode & PERMISSIONS {
        return Ok(());
    }
    let own = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Mode::from_raw_mode(stat.st_mode) & (Mode::SUID | Mode::SGID | Mode::SVTX),
        _ => Mode::empty(),
    };
    rustix::fs::fchmod(fd, mode_of(mode) | own).map_err(|e| Error::io("chmod", path, e))
}

/// A rename can't replace a directory by a file: an empty one is removed first, a full one is an error.
pub(crate) fn make_way(dir: &OwnedFd, name: &str, there: Option<&Stat>, path: &str) -> Result<(), Error> {
    if !there.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()) {
        return Ok(());
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Error::NotEmpty { path: path.to_owned() }),
        Err(e) => Err(Error::io("replace the directory", path, e)),
    }
}

type Ids = (u32, u32);

fn owner_for(dir: &OwnedFd, there: Option<&Stat>, owner: Owner, path: &str) -> Result<Option<Ids>, Error> {
    match (owner, there) {
        (Owner::AsIs, _) => Ok(None),
        (_, Some(stat)) => Ok(Some((stat.st_uid, stat.st_gid))),
        (owner, None) => {
            let stat = rustix::fs::fstat(dir).map_err(|e| Error::io("stat the directory of", path, e))?;
            let mode = Mode::from_raw_mode(stat.st_mode);
            Ok(Some(match owner {
                Owner::FromParentOr(user) if mode.contains(Mode::SGID | Mode::WGRP) => (user, stat.st_gid),
                _ => (stat.st_uid, stat.st_gid),
            }))
        }
    }
}

fn chown(fd: impl AsFd, owner: Ids, path: &str) -> Result<(), Error> {
    let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("stat", path, e))?;
    if (stat.st_uid, stat.st_gid) == owner {
        return Ok(());
    }
    give_away(owner, path, |uid, gid| rustix::fs::fchown(&fd, uid, gid))
}

#[cfg(target_os = "linux")]
fn chown_symlink(dir: &OwnedFd, name: &str, (uid, gid): Ids, path: &str) -> Result<(), Error> {
    // Through a descriptor, so that a name swapped under us can't give somebody else's file away.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|e| Error::io("open", path, e))?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("stat", path, e))?;
    if !FileType::from_raw_mode(stat.st_mode).is_symlink() || (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    give_away((uid, gid), path, |uid, gid| rustix::fs::chownat(&fd, "", uid, gid, AtFlags::EMPTY_PATH))
}

#[cfg(not(target_os = "linux"))]
fn chown_symlink(dir: &OwnedFd, name: &str, (uid, gid): Ids, path: &str) -> Result<(), Error> {
    let stat =
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Error::io("stat", path, e))?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    give_away((uid, gid), path, |uid, gid| {
        rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    })
}

/// As far as the writer may: to another user takes CAP_CHOWN, to a group that the writer is in nothing (chown(2)).
fn give_away(
    (uid, gid): Ids,
    path: &str,
    chown: impl Fn(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>,
) -> Result<(), Error> {
    let group = Some(Gid::from_raw(gid));
    let given = match chown(Some(Uid::from_raw(uid)), group) {
        Err(Errno::PERM) => chown(None, group),
        other => other,
    };
    match given {
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(e) => Err(Error::io("chown", path, e)),
    }
}

pub(crate) fn mode_of(mode: u32) -> Mode {
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_truncation)] // 16 bits on macOS
    Mode::from_raw_mode((mode & PERMISSIONS) as rustix::fs::RawMode)
}

pub(crate) fn times(mtime_ns: i64) -> Timestamps {
    let time =
        Timespec { tv_sec: mtime_ns.div_euclid(1_000_000_000), tv_nsec: mtime_ns.rem_euclid(1_000_000_000) };
    Timestamps { last_access: time, last_modification: time }
}

/// Whether `name` (one component) is that of a file that was replaced or removed and may be nobody's copy yet, or of one that
/// was to come into its place.
pub fn is_displaced(name: &str) -> bool {
    name.strip_prefix(TEMP_PREFIX).is_some_and(|rest| rest.starts_with(DISPLACED)) && is_temp(name)
}

/// What follows the prefix in the name of a displaced file.
const DISPLACED: &str = "was-";

/// A name for what is displaced. Nothing sweeps it away unseen.
pub(crate) fn displaced_name() -> String {
    format!("{TEMP_PREFIX}{DISPLACED}{:016x}{TEMP_SUFFIX}", random())
}

pub(crate) fn temp_name() -> String {
    format!("{TEMP_PREFIX}{:016x}{TEMP_SUFFIX}", random())
}

fn random() -> u64 {
    // RandomState is keyed by the system's random source: the name can't be guessed and waited for.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown as std_chown, symlink};

    fn names(dir: &std::path::Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_symlink_in_the_place_is_replaced_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        symlink(outside.path(), dir.path().join("f")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        write_file(&root, "f", b"x", Some(0o4750), Owner::AsIs).unwrap();
        assert_eq!(fs::read(outside.path()).unwrap(), b"");
        assert_eq!(fs::symlink_metadata(dir.path().join("f")).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d/full")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(matches!(write_file(&root, "d", b"x", None, Owner::AsIs), Err(Error::NotEmpty { .. })));
        assert_eq!(names(dir.path()), ["d"]);
        assert_eq!(names(&dir.path().join("d")), ["full"]);
    }

    #[test]
    fn what_came_into_the_way_is_kept_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("d"), "the user's").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let (fd, name) = root.parent("d").unwrap();
        let refused = ensure_dir(&fd, name, "d", 0o755, Owner::AsIs, true);
        assert!(matches!(refused, Err(Error::NotADirectory { path }) if path == "d"));
        assert_eq!(fs::read_to_string(dir.path().join("d")).unwrap(), "the user's");
        assert!(ensure_dir(&fd, name, "d", 0o755, Owner::AsIs, false).unwrap().1);
    }

    #[test]
    fn mode_and_owner_of_a_replaced_file_stay() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let gives = std_chown(&file, Some(1234), Some(2345)).is_ok();
        if gives {
            std_chown(dir.path(), Some(77), Some(88)).unwrap();
        }
        write_file(&root, "f", b"new", None, Owner::FromParent).unwrap();
        write_file(&root, "g", b"new", None, Owner::FromParent).unwrap();
        let (f, g) = (fs::metadata(&file).unwrap(), fs::metadata(dir.path().join("g")).unwrap());
        assert_eq!((f.mode() & 0o7777, g.mode() & 0o7777), (0o640, 0o644));
        if gives {
            assert_eq!((f.uid(), f.gid(), g.uid(), g.gid()), (1234, 2345, 77, 88));
        } else {
            ksync_skip::skipped("files can't be given to others here: modes alone are checked");
        }
    }

    #[test]
    fn a_directorys_set_gid_and_sticky_bits_are_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().mode() & 0o7777;
        fs::create_dir(dir.path().join("shared")).unwrap();
        fs::set_permissions(dir.path().join("shared"), fs::Permissions::from_mode(0o3775)).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let (shared, _) = root.parent("shared/new").unwrap();
        ensure_dir(&shared, "new", "shared/new", 0o4755, Owner::FromParent, false).unwrap();
        assert_eq!(mode("shared/new"), 0o2755, "as `mkdir` there makes one");
        finish_dir(&reading(&root.reading().unwrap(), "shared", "shared").unwrap(), "shared", 0o4750, 0)
            .unwrap();
        assert_eq!(mode("shared"), 0o3750);
    }

    #[test]
    fn old_and_odd_times_are_exact() {
        for ns in [0, 1, -1, 1_700_000_000_123_456_789, -5_000_000_001] {
            let dir = tempfile::tempdir().unwrap();
            let root = Root::open(dir.path()).unwrap();
            let (fd, name) = root.parent("f").unwrap();
            let pending = Pending::create(&fd, "f").unwrap();
            pending
                .commit(name, Attributes { mode: 0o600, mtime_ns: Some(ns), owner: Owner::AsIs, keep: false })
                .unwrap();
            assert_eq!(crate::stat_entry(&root, "f", false).unwrap().unwrap().mtime_ns, ns);
        }
    }
}
