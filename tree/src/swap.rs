//! Compare-and-swap for entries of a tree: what stands at a path is replaced or removed only while it is what the caller
//! knows, and nothing that anybody wrote there is lost, however the writes fall.
//!
//! The new file is exchanged with the old one in one step, and only then the old one, which has a private name by now, is
//! judged: a look before the exchange could not know of a write that comes after it. Where it turns out to be another
//! than the known one, both are exchanged back. A program that had opened the old file before may write into it still:
//! such a file stays under its private name until nobody has it open for writing ([`Displaced`]).
//!
//! Without an exchange (NFS, some FUSE), the old file goes to its private name first and the new one comes after, so that
//! for a moment nothing stands there; what is promised is the same. Calls: renameat2(2), fcntl(2) with `F_SETLEASE`.

use crate::entry::{Entry, Kind};
use crate::error::Error;
use crate::guards::{self, Guard};
use crate::power::Directory;
use crate::root::Root;
use crate::stat::{Exact, entry_at, lstat, open_regular};
use crate::write::{displaced_name, is_displaced, place_new};
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What the caller knows to stand at a path.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// Nothing does.
    Nothing,
    /// An entry like this one does. A missing hash counts as equal.
    Entry(&'a Entry),
}

/// What becomes of an old entry that turned out to be the known one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// It is removed.
    Dropped,
    /// It stays under its private name ([`Swapped::Held`]) until the caller discards it.
    Held,
}

/// How a swap ended.
#[derive(Debug)]
#[must_use]
pub enum Swapped {
    /// What was asked for is done, and what stood there is gone.
    Done,
    /// Something else stands there than the caller knows. It stays, and nothing has changed.
    Refused,
    /// What stood there is still open for writing, was written meanwhile, can't be judged now, or was to be held. What was
    /// asked for is done, unless something newer came into its place.
    Held(Displaced),
}

/// A file that was taken from its place and may still change, under a private name in the same directory. Dropped, it
/// stays on the disk under that name.
#[derive(Debug)]
#[must_use]
pub struct Displaced {
    dir: Directory,
    name: String,
    path: String,
    /// Where it is, relative to the same root.
    at: String,
    known: Box<Entry>,
}

/// What a look at a displaced file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was known, and nobody can write it any more.
    Same,
    /// It holds something else, which nobody can write any more: it is to be kept.
    Changed,
    /// Somebody has it open for writing.
    Busy,
}

impl Displaced {
    /// What will be known as `name` in `dir`. Made before the file gets that name: nothing may fail from then on.
    fn new(dir: &Directory, name: &str, path: &str, known: &Entry) -> Result<Self, Error> {
        let dir = dir.try_clone(path)?;
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let at = crate::path::join(above, name);
        Ok(Self { dir, name: name.to_owned(), path: path.to_owned(), at, known: Box::new(known.clone()) })
    }

    /// Judges it for the first time. What can't be judged is held like one that is open, and says why when it is judged
    /// again: an error here would have it removed with what was to replace it.
    fn judge_first(&self) -> Verdict {
        if !guards::on(Guard::CompareAndSwap) {
            return Verdict::Same;
        }
        judge(&self.dir, &self.name, &self.path, &self.known).unwrap_or(Verdict::Busy)
    }

    /// Path of the place that it was taken from.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Path of the file itself, relative to the same root.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// It was moved to the root itself, with the name that it has ([`evacuate`]).
    pub fn moved_to(&mut self, root: &Root) -> Result<(), Error> {
        self.dir = root.reading()?.leave();
        self.at.clone_from(&self.name);
        Ok(())
    }

    /// Finds out where it is by now, below the same `root`: the directory that it is in may have been renamed. Returns whether
    /// it is there.
    pub fn find(&mut self, root: &Root) -> Result<bool, Error> {
        let _stay = self.dir.enter(&self.at)?;
        if lstat(&self.dir, &self.name, &self.at)?.is_none() {
            return Ok(false);
        }
        // proc(5), /proc/pid/fd: the path that an open directory has now.
        let path = |fd: BorrowedFd<'_>| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        if let (Ok(above), Ok(dir)) = (path(root.base(&self.at)), path(self.dir.as_fd()))
            && let Some(below) = dir.strip_prefix(above).ok().and_then(|below| below.to_str())
        {
            self.at = crate::path::join(below, &self.name);
        }
        Ok(true)
    }

    /// Looks whether it changed since it was known. What changed and is open for writing may change again.
    pub fn judge(&self) -> Result<Verdict, Error> {
        let _stay = self.dir.enter(&self.at)?;
        let verdict = judge(&self.dir, &self.name, &self.path, &self.known)?;
        let changes =
            verdict == Verdict::Changed && writers(&self.dir, &self.name, &self.path)? == Writers::Some;
        Ok(if changes { Verdict::Busy } else { verdict })
    }

    /// Removes it from the disk.
    pub fn discard(self) -> Result<(), Error> {
        let _stay = self.dir.enter(&self.at)?;
        discard(&self.dir, &self.name, &self.at)
    }
}

/// Removes the file, symlink or empty directory at `path` while it is the `known` one. A directory that is not empty is
/// [`Swapped::Refused`]; so is any entry of a kind that is not synced.
pub fn remove_known(root: &Root, path: &str, known: &Entry, old: Old) -> Result<Swapped, Error> {
    let (dir, name) = match root.parent(path) {
        Err(e) if e.is_not_found() => return Ok(Swapped::Done),
        other => other?,
    };
    if known.kind == Kind::Dir {
        if root.is_mount(path) {
            return Ok(Swapped::Refused);
        }
        return match rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(Swapped::Done),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => Ok(Swapped::Refused),
            Err(e) => Err(Error::io("remove", path, e)),
        };
    }
    if !stands(&dir, name, path, Known::Entry(known))? {
        return Ok(if lstat(&dir, name, path)?.is_none() { Swapped::Done } else { Swapped::Refused });
    }
    between(Point::Looked);
    let temp = displaced_name();
    let displaced = Displaced::new(&dir, &temp, path, known)?;
    match rustix::fs::renameat(&dir, name, &dir, temp.as_str()) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Swapped::Done),
        Err(e) => return Err(Error::io("remove", path, e)),
    }
    between(Point::Moved);
    let goes_back = || matches!(place_new(&dir, &temp, name, path), Ok(true));
    match displaced.judge_first() {
        Verdict::Same if old == Old::Held => Ok(Swapped::Held(displaced)),
        Verdict::Same => discard(&dir, &temp, path).map(|()| Swapped::Done),
        // Unless somebody has put something new there meanwhile: then both stand, and the older one is kept.
        Verdict::Changed if goes_back() => Ok(Swapped::Refused),
        Verdict::Busy | Verdict::Changed => Ok(Swapped::Held(displaced)),
    }
}

/// Gives the entry that was made as `temp` in `dir` the name `name`, while what stands there is the `known` one. Where it
/// is refused or fails, `temp` is gone. What is displaced has the name `temp` then, which no sweep may take.
pub(crate) fn place(
    dir: &Directory,
    temp: &str,
    name: &str,
    path: &str,
    known: Known<'_>,
    old: Old,
) -> Result<Swapped, Error> {
    debug_assert!(is_displaced(temp), "a sweep would take `{temp}`");
    let placed = try_place(dir, temp, name, path, known, old);
    if matches!(placed, Err(_) | Ok(Swapped::Refused)) {
        // The error that ends it is the one to tell; a leftover is ignored by name everywhere.
        let _ = rustix::fs::unlinkat(dir, temp, AtFlags::empty());
    }
    placed
}

fn try_place(
    dir: &Directory,
    temp: &str,
    name: &str,
    path: &str,
    known: Known<'_>,
    old: Old,
) -> Result<Swapped, Error> {
    let Known::Entry(entry) = known else {
        between(Point::Looked);
        return Ok(if place_new(dir, temp, name, path)? { Swapped::Done } else { Swapped::Refused });
    };
    if entry.kind == Kind::Dir || !stands(dir, name, path, known)? {
        return Ok(Swapped::Refused);
    }
    between(Point::Looked);
    let ours = lstat(dir, temp, path)?.ok_or_else(|| Error::io("rename into place", path, Errno::NOENT))?;
    let displaced = Displaced::new(dir, temp, path, entry)?;
    match rustix::fs::renameat_with(dir, temp, dir, name, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Swapped::Refused),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            return without_exchange(dir, temp, name, path, entry, old);
        }
        Err(e) => return Err(Error::io("rename into place", path, e)),
    }
    between(Point::Moved);
    match displaced.judge_first() {
        Verdict::Same if old == Old::Held => Ok(Swapped::Held(displaced)),
        Verdict::Same => discard(dir, temp, path).map(|()| Swapped::Done),
        Verdict::Busy => Ok(Swapped::Held(displaced)),
        Verdict::Changed => Ok(swap_back(displaced, name, &Exact::of(&ours))),
    }
}

/// What came out is not what was known: it goes back, unless our entry was changed or replaced there meanwhile.
fn swap_back(displaced: Displaced, name: &str, ours: &Exact) -> Swapped {
    let Displaced { dir, name: temp, path, .. } = &displaced;
    let exchange = || rustix::fs::renameat_with(dir, temp.as_str(), dir, name, RenameFlags::EXCHANGE);
    // Where it can't go back, what we have put there is gone, mostly: it was deleted after the write that we do not know.
    if exchange().is_err() {
        return Swapped::Held(displaced);
    }
    between(Point::Back);
    let came = lstat(dir, temp, path).ok().flatten().map(|stat| Exact::of(&stat));
    let untouched = came.is_some_and(|came| came.same_content(ours));
    if untouched && matches!(writers(dir, temp, path), Ok(Writers::None)) {
        return Swapped::Refused;
    }
    // Somebody has written what we had put there, or put another in its place, as far as can be told: that is the newest,
    // and stands. Where it can't any more, it is what is held.
    match exchange() {
        Ok(()) | Err(_) => Swapped::Held(displaced),
    }
}

/// The same in two steps.
fn without_exchange(
    dir: &Directory,
    temp: &str,
    name: &str,
    path: &str,
    known: &Entry,
    old: Old,
) -> Result<Swapped, Error> {
    let away = displaced_name();
    let displaced = Displaced::new(dir, &away, path, known)?;
    match rustix::fs::renameat(dir, name, dir, away.as_str()) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Swapped::Refused),
        Err(e) => return Err(Error::io("replace", path, e)),
    }
    between(Point::Moved);
    let verdict = displaced.judge_first();
    let goes_back = || place_new(dir, &away, name, path);
    if verdict == Verdict::Changed && matches!(goes_back(), Ok(true)) {
        return Ok(Swapped::Refused);
    }
    let placed = match place_new(dir, temp, name, path) {
        Ok(placed) => placed,
        Err(error) => {
            // What stood there goes back. Where even that fails it stays under its private name.
            goes_back()?;
            return Err(error);
        }
    };
    if verdict == Verdict::Same && (old == Old::Dropped || !placed) {
        discard(dir, &away, path)?;
        return Ok(if placed { Swapped::Done } else { Swapped::Refused });
    }
    if !placed {
        // Something new stands there, and what was known is written still: both stay, ours goes. A leftover is ignored.
        let _ = rustix::fs::unlinkat(dir, temp, AtFlags::empty());
    }
    Ok(Swapped::Held(displaced))
}

fn discard(dir: &OwnedFd, temp: &str, path: &str) -> Result<(), Error> {
    match rustix::fs::unlinkat(dir, temp, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

/// Whether what stands at `name` looks like what is known, by its attributes alone.
fn stands(dir: &OwnedFd, name: &str, path: &str, known: Known<'_>) -> Result<bool, Error> {
    let there = match entry_at(dir, name, path, false) {
        Err(Error::WrongKind { .. }) => return Ok(false),
        other => other?,
    };
    Ok(match (there, known) {
        (None, Known::Nothing) => true,
        (Some(there), Known::Entry(known)) => {
            alike(&there, known) || there.kind != Kind::Dir && !guards::on(Guard::CompareAndSwap)
        }
        _ => false,
    })
}

/// By all but the hash. A mode is not compared: to change it loses nothing.
fn alike(there: &Entry, known: &Entry) -> bool {
    there.kind == known.kind
        && match there.kind {
            Kind::File => there.size == known.size && there.mtime_ns == known.mtime_ns,
            Kind::Symlink => there.target == known.target,
            Kind::Dir => true,
        }
}

/// Judges a file under its private name. Nobody can open it by its public one any more, so what holds while nobody has
/// it open for writing holds from then on (but for its other hard links, whose content is not lost with this one).
fn judge(dir: &OwnedFd, name: &str, path: &str, known: &Entry) -> Result<Verdict, Error> {
    #[cfg(test)]
    tests::judging(path)?;
    let looked = match entry_at(dir, name, path, false) {
        Err(Error::WrongKind { .. }) => return Ok(Verdict::Changed),
        other => other?,
    };
    let Some(looked) = looked else { return Ok(Verdict::Same) };
    if !alike(&looked, known) {
        return Ok(Verdict::Changed);
    }
    if looked.kind != Kind::File {
        return Ok(Verdict::Same);
    }
    if writers(dir, name, path)? == Writers::Some {
        return Ok(Verdict::Busy);
    }
    // Looked at with nobody writing: an equal size and mtime may still hide a write within one tick of the clock.
    let now = entry_at(dir, name, path, known.hash.is_some())?;
    let same = now.is_some_and(|now| alike(&now, known) && (known.hash.is_none() || now.hash == known.hash));
    Ok(if same { Verdict::Same } else { Verdict::Changed })
}

/// Whether anybody has a file open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writers {
    None,
    Some,
}

/// A read lease is given only on a file that nobody has open for writing (fcntl(2)). Where leases are not to be had (not
/// the owner and no CAP_LEASE, NFS, macOS), a file that was not written for a while counts as closed.
fn writers(dir: &OwnedFd, name: &str, path: &str) -> Result<Writers, Error> {
    let told = match open_regular(dir, name, path) {
        Ok((file, _)) => lease(file),
        Err(Error::WrongKind { .. }) => return Ok(Writers::None),
        Err(error) if error.is_not_found() => return Ok(Writers::None),
        // Not ours to read.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => None,
        Err(error) => return Err(error),
    };
    let quiet = || lstat(dir, name, path).map(|stat| stat.is_none_or(|stat| quiet(&Exact::of(&stat))));
    Ok(match told {
        Some(writers) => writers,
        None if quiet()? => Writers::None,
        None => Writers::Some,
    })
}

/// How long a file without leases must not have been written.
const QUIET_NS: i64 = 2_000_000_000;

fn quiet(exact: &Exact) -> bool {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    now.saturating_sub(exact.mtime_ns) > QUIET_NS
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "leases are in no safe library; no pointers are passed")]
fn lease(file: impl AsFd) -> Option<Writers> {
    static IGNORED: std::sync::Once = std::sync::Once::new();
    // Whoever opens a leased file for writing makes the kernel send this signal, whose default is to end the process.
    IGNORED.call_once(|| {
        // SAFETY: SIG_IGN is no handler of ours.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    });
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file.as_fd());
    // SAFETY: an open descriptor, and an integer.
    if unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) } == 0 {
        // SAFETY: as above. It can't fail on a lease that is ours, and the descriptor's end ends it too.
        unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
        return Some(Writers::None);
    }
    (std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)).then_some(Writers::Some)
}

#[cfg(not(target_os = "linux"))]
fn lease(_file: impl AsFd) -> Option<Writers> {
    None
}

/// Where somebody else may come in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// What stands there was looked at, and is still there.
    Looked,
    /// It has its private name now, and was not judged yet.
    Moved,
    /// It is back in its place, and what had replaced it was not judged yet.
    Back,
}

pub(crate) mod evacuate;
pub(crate) mod leftover;
pub(crate) mod staging;

#[cfg(not(test))]
fn between(_point: Point) {}

#[cfg(test)]
use tests::between;

#[cfg(test)]
mod tests;
