//! Looking at single entries, and at what is in one directory, with what tells later whether they are still the same.

use crate::entry::{Entry, Kind, Skipped};
use crate::error::Error;
use crate::list::{NOT_COMPOSED, is_composed, reason};
use crate::path::{MAX_PATH, join};
use crate::root::Root;
use crate::stat::{CHUNK, Exact, entry_at, lstat, open_regular};
use crate::write::{is_internal, is_temp};
use rustix::fs::Stat;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

/// How often a file that changes while it is read is read anew.
const ATTEMPTS: usize = 3;

/// An entry, and what its name stood for at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Without a hash.
    pub entry: Entry,
    /// Two equal ones mean that nothing was written, replaced or renamed in between.
    pub exact: Exact,
}

/// A regular file that was read.
#[derive(Debug)]
pub struct Read {
    /// With its hash. Where the file changed while it was read, again and again, this is what was read of it.
    pub entry: Entry,
    /// From before it was read.
    pub exact: Exact,
    /// Its content, where that is not longer than was asked for.
    pub content: Option<Vec<u8>>,
}

/// What stands at `path`; none where nothing does, an error where its kind is not synced.
pub fn look(root: &Root, path: &str) -> Result<Option<Looked>, Error> {
    let looked = root.parent(path).and_then(|(dir, name)| look_at(&dir, name, path));
    match looked {
        // A file where its directory was is the end of all that was below.
        Err(Error::NotADirectory { .. }) => Ok(None),
        Err(error) if error.is_not_found() => Ok(None),
        // As where its directory is looked into.
        Ok(Some(_)) if !is_composed(path) => {
            Err(Error::BadPath { path: path.to_owned(), reason: NOT_COMPOSED })
        }
        other => other,
    }
}

fn look_at(dir: &std::os::fd::OwnedFd, name: &str, path: &str) -> Result<Option<Looked>, Error> {
    let Some(entry) = entry_at(dir, name, path, false)? else { return Ok(None) };
    let Some(stat) = lstat(dir, name, path)? else { return Ok(None) };
    let exact = Exact::of(&stat);
    let entry = match entry.kind {
        Kind::File => Entry { size: exact.size, mtime_ns: exact.mtime_ns, ..entry },
        _ => entry,
    };
    Ok(Some(Looked { entry, exact }))
}

/// What is in a directory.
#[derive(Debug, Default)]
pub struct Found {
    /// By name, in byte order.
    pub entries: Vec<Looked>,
    /// What could not be looked at, or is not synced.
    pub skipped: Vec<Skipped>,
}

/// What is in the directory at `path`, where empty means the root; none when it is not there or no directory. Entries that
/// `passes_over` says so of are left out before anything of them is kept, and so is what belongs to syncthing or to us.
pub fn look_into(
    root: &Root,
    path: &str,
    passes_over: impl Fn(&str) -> bool,
) -> Result<Option<Found>, Error> {
    let dir = if path.is_empty() { root.reading() } else { root.directory(path) };
    let dir = match dir {
        Err(Error::NotADirectory { .. }) => return Ok(None),
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    let part = root.part(path);
    let mut found = Found::default();
    let mut paths = Vec::new();
    let failed = |e| Error::io("read the directory", if path.is_empty() { "." } else { path }, e);
    for item in rustix::fs::Dir::read_from(&dir).map_err(failed)? {
        let item = item.map_err(failed)?;
        match item.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) if is_temp(name) || is_internal(name) => {}
            Ok(name) => paths.extend(Some(join(path, name)).filter(|path| !passes_over(path))),
            Err(_) => found.skipped.push(Skipped {
                path: join(path, &item.file_name().to_string_lossy()),
                reason: "its name is not UTF-8".to_owned(),
            }),
        }
    }
    paths.sort_unstable();
    for path in paths {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let odd = if !is_composed(name) {
            Some(NOT_COMPOSED)
        } else if path.len() > MAX_PATH {
            Some("its path is too long")
        } else {
            None
        };
        if let Some(odd) = odd {
            found.skipped.push(Skipped { path, reason: odd.to_owned() });
            continue;
        }
        let looked = if root.part(&path) == part { look_at(&dir, name, &path) } else { look(root, &path) };
        match looked {
            Ok(Some(looked)) => found.entries.push(looked),
            Ok(None) => {}
            Err(error) => found.skipped.push(Skipped { path, reason: reason(&error) }),
        }
    }
    Ok(Some(found))
}

/// Reads the regular file at `path` with its hash, and hands its content out where it has at most `most` bytes; none where no
/// file stands there (any more).
pub fn read(root: &Root, path: &str, most: u64) -> Result<Option<Read>, Error> {
    let (dir, name) = match root.parent(path) {
        Err(Error::NotADirectory { .. }) => return Ok(None),
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    let mut attempt = 1;
    loop {
        let Some(looked) = look_at(&dir, name, path)? else { return Ok(None) };
        if looked.entry.kind != Kind::File {
            return Ok(None);
        }
        let (mut file, before) = match open_regular(&dir, name, path) {
            Err(error) if error.is_not_found() => return Ok(None),
            Err(Error::WrongKind { .. }) => return Ok(None),
            other => other?,
        };
        let exact = Exact::of(&before);
        let mut content = (exact.size <= most)
            .then(|| Vec::with_capacity(usize::try_from(exact.size).unwrap_or_default() + 1));
        let mut hasher = blake3::Hasher::new();
        let mut size = 0_u64;
        let chunk = usize::try_from(exact.size.saturating_add(1)).map_or(CHUNK, |size| size.min(CHUNK));
        let mut buffer = vec![0; chunk];
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("read", path, e)),
            };
            hasher.update(&buffer[..n]);
            size += n as u64;
            if size > most {
                content = None;
            }
            if let Some(content) = &mut content {
                content.extend_from_slice(&buffer[..n]);
            }
        }
        let after = rustix::fs::fstat(&file).map_err(|e| Error::io("stat", path, e))?;
        let stable = Exact::of(&after).same_content(&exact) && size == exact.size;
        if stable || attempt == ATTEMPTS {
            let hash = Some(*hasher.finalize().as_bytes());
            let entry = Entry { size, mtime_ns: exact.mtime_ns, hash, ..looked.entry };
            return Ok(Some(Read { entry, exact, content }));
        }
        attempt += 1;
    }
}

/// The regular file at `path`, to be read; none where there is none.
pub fn open_file(root: &Root, path: &str) -> Result<Option<File>, Error> {
    Ok(opened(root, path)?.map(|(file, _)| file))
}

fn opened(root: &Root, path: &str) -> Result<Option<(File, Stat)>, Error> {
    let opened = root.parent(path).and_then(|(dir, name)| open_regular(&dir, name, path));
    match opened {
        Err(Error::NotADirectory { .. } | Error::WrongKind { .. }) => Ok(None),
        Err(error) if error.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

/// The content of a file from its beginning, as pieces that `take` gets; whether it took all of them. Where others are in the
/// file stays as it is.
pub fn pieces_of(
    file: &File,
    mut take: impl FnMut(&[u8]) -> std::ops::ControlFlow<()>,
) -> std::io::Result<bool> {
    let (mut piece, mut at) = (vec![0; CHUNK], 0);
    loop {
        match file.read_at(&mut piece, at) {
            Ok(0) => return Ok(true),
            Ok(n) if take(&piece[..n]).is_break() => return Ok(false),
            Ok(n) => at += n as u64,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The content of the regular file at `path`, as pieces that `take` gets, while it is the one that `exact` tells of; whether
/// it was to the end.
pub fn content_of(
    root: &Root,
    path: &str,
    exact: &Exact,
    take: impl FnMut(&[u8]) -> std::ops::ControlFlow<()>,
) -> Result<bool, Error> {
    let Some((file, before)) = opened(root, path)? else { return Ok(false) };
    if !Exact::of(&before).same_content(exact)
        || !pieces_of(&file, take).map_err(|e| Error::io("read", path, e))?
    {
        return Ok(false);
    }
    let after = rustix::fs::fstat(&file).map_err(|e| Error::io("stat", path, e))?;
    Ok(Exact::of(&after).same_content(exact))
}
