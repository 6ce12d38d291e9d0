//! Reading one entry: what it is, its content, its hash. A file is only opened after it was found to be a regular
//! one, and never in a way that could block on a fifo.

use crate::entry::{Entry, Kind};
use crate::error::Error;
use crate::identity::identity_of;
use crate::root::Root;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

/// Buffer for reading file content.
pub(crate) const CHUNK: usize = 256 * 1024;

/// What stands at `path`, with its hash if asked for; `None` when nothing does.
pub fn stat_entry(root: &Root, path: &str, hash: bool) -> Result<Option<Entry>, Error> {
    let found = root.parent(path).and_then(|(dir, name)| entry_at(&dir, name, path, hash));
    match found {
        Err(e) if e.is_not_found() => Ok(None),
        other => other,
    }
}

/// What a name stood for at one moment, without reading it: two equal ones mean that nothing was written, replaced or
/// renamed in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exact {
    /// In bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Nanoseconds since the epoch; every write, chmod and rename moves it.
    pub ctime_ns: i64,
    /// `st_ino`
    pub ino: u64,
    /// How many names it has: `st_nlink`.
    pub links: u64,
}

#[allow(clippy::unnecessary_cast)] // nlink_t has other widths elsewhere
fn links_of(stat: &Stat) -> u64 {
    stat.st_nlink as u64
}

impl Exact {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            size: size_of(stat),
            mtime_ns: mtime_of(stat),
            ctime_ns: ctime_of(stat),
            ino: identity_of(stat).ino,
            links: links_of(stat),
        }
    }

    /// Whether it is the same file with the same content, under whatever name: a rename moves the ctime.
    pub fn same_content(&self, other: &Self) -> bool {
        Self { ctime_ns: 0, links: 0, ..*self } == Self { ctime_ns: 0, links: 0, ..*other }
    }
}

/// What stands at `path`, of whatever kind; `None` when nothing does.
pub fn stat_exact(root: &Root, path: &str) -> Result<Option<Exact>, Error> {
    match root.parent(path).and_then(|(dir, name)| lstat(&dir, name, path)) {
        Err(e) if e.is_not_found() => Ok(None),
        other => Ok(other?.map(|stat| Exact::of(&stat))),
    }
}

/// The entry `name` in `dir`; `None` when it is gone, an error when its kind is not synced.
pub(crate) fn entry_at(dir: impl AsFd, name: &str, path: &str, hash: bool) -> Result<Option<Entry>, Error> {
    let Some(stat) = lstat(&dir, name, path)? else { return Ok(None) };
    let (kind, mut size, mut mode) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => (Kind::File, size_of(&stat), permissions(&stat)),
        FileType::Directory => (Kind::Dir, 0, permissions(&stat)),
        FileType::Symlink => (Kind::Symlink, 0, 0o777),
        other => return Err(Error::WrongKind { path: path.to_owned(), what: name_of(other) }),
    };
    let mut mtime_ns = mtime_of(&stat);
    let mut digest = None;
    if hash && kind == Kind::File {
        match open_regular(&dir, name, path) {
            Ok((file, stat)) => {
                digest = Some(hash_open(file, path)?);
                (size, mode, mtime_ns) = (size_of(&stat), permissions(&stat), mtime_of(&stat));
            }
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    let target = match kind {
        Kind::Symlink => match rustix::fs::readlinkat(&dir, name, Vec::new()) {
            Ok(target) => Some(target.into_bytes()),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::io("read the symlink", path, e)),
        },
        _ => None,
    };
    Ok(Some(Entry { path: path.to_owned(), kind, size, mtime_ns, mode, hash: digest, target }))
}

/// `lstat` of `name` in `dir`; `None` when it is not there.
pub(crate) fn lstat(dir: impl AsFd, name: &str, path: &str) -> Result<Option<Stat>, Error> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(Error::io("stat", path, e)),
    }
}

/// Opens a regular file for reading, with its state at that moment.
pub(crate) fn open_regular(dir: impl AsFd, name: &str, path: &str) -> Result<(File, Stat), Error> {
    let check = |stat: &Stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        other => Err(Error::WrongKind { path: path.to_owned(), what: name_of(other) }),
    };
    // Opening a device can do something to it, so look before; and again at what was really opened.
    let seen =
        rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Error::io("stat", path, e))?;
    check(&seen)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&dir, name, flags, Mode::empty()).map_err(|e| match e {
        Errno::LOOP => Error::WrongKind { path: path.to_owned(), what: "a symlink" },
        e => Error::io("open", path, e),
    })?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("stat", path, e))?;
    check(&stat)?;
    Ok((File::from(fd), stat))
}

fn hash_open(mut file: File, path: &str) -> Result<[u8; 32], Error> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read", path, e)),
        }
    }
}

pub(crate) fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symlink",
        FileType::Socket => "a socket",
        FileType::Fifo => "a fifo",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    }
}

/// The bits that are carried. Set-uid, set-gid and sticky are each side's own: a program that becomes root there must not
/// come here, and a volume's set-gid directories stay what they are.
pub(crate) const PERMISSIONS: u32 = 0o777;

/// The permission bits of an entry that are carried.
pub(crate) fn permissions(stat: &Stat) -> u32 {
    #[allow(clippy::useless_conversion)] // 16 bits on macOS
    let mode = u32::from(stat.st_mode);
    mode & PERMISSIONS
}

pub(crate) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

pub(crate) fn mtime_of(stat: &Stat) -> i64 {
    // The fields' widths and signs differ between platforms; the values always fit.
    #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)]
    let (seconds, nanoseconds) = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

fn ctime_of(stat: &Stat) -> i64 {
    #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)] // as above
    let (seconds, nanoseconds) = (stat.st_ctime as i64, stat.st_ctime_nsec as i64);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_replaced_or_written_file_is_not_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let at = |name: &str| stat_exact(&root, name).unwrap();
        assert_eq!((at("f"), at("none/f")), (None, None));
        fs::write(dir.path().join("f"), "one").unwrap();
        let before = at("f").unwrap();
        assert_eq!(at("f"), Some(before));
        fs::rename(dir.path().join("f"), dir.path().join("g")).unwrap();
        assert!(at("g").unwrap().same_content(&before));
        fs::write(dir.path().join("f"), "two").unwrap();
        assert!(!at("f").unwrap().same_content(&before), "another file");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let file = fs::File::options().write(true).open(dir.path().join("g")).unwrap();
        std::io::Write::write_all(&mut &file, b"six").unwrap();
        let modified = std::time::Duration::from_nanos(u64::try_from(before.mtime_ns).unwrap());
        file.set_modified(std::time::UNIX_EPOCH + modified).unwrap();
        let after = at("g").unwrap();
        assert!(after.same_content(&before) && after != before, "the ctime tells");
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "hello").unwrap();
        symlink("f", dir.path().join("l")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("p"), Mode::RWXU).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let hash = |path: &'static str| {
            let (dir, name) = root.parent(path)?;
            hash_open(open_regular(&dir, name, path)?.0, path)
        };
        assert!(matches!(hash("l"), Err(Error::WrongKind { what: "a symlink", .. })));
        assert!(matches!(hash("p"), Err(Error::WrongKind { what: "a fifo", .. })));
        assert!(hash("none").unwrap_err().is_not_found());
        assert_eq!(hash("f").unwrap(), *blake3::hash(b"hello").as_bytes());
        assert_eq!(stat_entry(&root, "none", true).unwrap(), None);
        assert_eq!(stat_entry(&root, "none/deeper", true).unwrap(), None);
        assert_eq!(stat_entry(&root, "l", true).unwrap().unwrap().target.unwrap(), b"f");
    }
}
