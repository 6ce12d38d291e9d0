//! A lock that one process holds by having a file locked: for `ksync.yaml`, for a context's watcher, and for a local path. The only room
//! that knows fs2. The file stays when the lock is released (removing it would let two hold "the" lock), and tells
//! the holder's process id.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use fs2::FileExt;

/// How often a held lock is looked at again. It is held for milliseconds, by commands.
const POLL: Duration = Duration::from_millis(10);

/// Why a lock can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else holds it.
    #[error("`{path}` is locked by {}", holder_words(*pid))]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// The holder's process id, where it is told.
        pid: Option<u32>,
    },
    /// The lock's file can't be used.
    #[error("can't {operation} the lock file `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The lock's file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A held lock; dropped, it is released. The system releases it too when the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the lock for at most `timeout`. Blocks the thread.
    pub fn acquire(path: &Path, timeout: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(Error::Held { path: path.to_owned(), pid: holder(path) });
            }
            thread::sleep(POLL);
        }
    }

    /// Takes the lock if nobody holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |operation| move |source| Error::Io { operation, path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed("open"))?;
        match FileExt::try_lock_exclusive(&file) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == fs2::lock_contended_error().raw_os_error() => return Ok(None),
            Err(e) => return Err(failed("lock")(e)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed("write"))?;
        Ok(Some(Self { file }))
    }

    /// Leaves the release to the system, at the end of this process: who then has the lock finds it gone.
    pub fn keep_until_exit(self) {
        // As when it is dropped, nobody is told of a holder that is about to be none.
        let _ = self.file.set_len(0);
        std::mem::forget(self);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Emptied so that nobody is told of a process that is no longer the holder; closing releases it in any case.
        let _ = self.file.set_len(0);
        let _ = FileExt::unlock(&self.file);
    }
}

/// A directory of which this process has the only say, and so of all below it. Nothing is written there: the lock is
/// the kernel's, on the open directory, and shared ones on those above it.
#[derive(Debug)]
pub(crate) struct DirLock {
    _held: Vec<File>,
}

impl DirLock {
    /// Takes the lock if nobody has the directory, one above it, or one below it. A file system that knows no such locks
    /// (NFS) lets everybody in.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |operation| move |source| Error::Io { operation, path: path.to_owned(), source };
        let real = path.canonicalize().map_err(failed("resolve"))?;
        let own = File::open(&real).map_err(failed("open"))?;
        if is_contended(FileExt::try_lock_exclusive(&own)) {
            return Ok(None);
        }
        let mut held = vec![own];
        // What can't be opened is nobody's of this user.
        for above in real.ancestors().skip(1).filter_map(|dir| File::open(dir).ok()) {
            if is_contended(FileExt::try_lock_shared(&above)) {
                return Ok(None);
            }
            held.push(above);
        }
        Ok(Some(Self { _held: held }))
    }
}

fn is_contended(locked: io::Result<()>) -> bool {
    locked.is_err_and(|error| error.raw_os_error() == fs2::lock_contended_error().raw_os_error())
}

/// The process that says it holds the lock; only true while the lock is held.
pub(crate) fn holder(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path).ok()?.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether somebody holds the lock. What its file tells may be of a process that is long gone, its number another's by
/// now. Whoever tries to take it in this very instant is told that it is held.
pub(crate) fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    is_contended(FileExt::try_lock_shared(&file))
}

fn holder_words(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Error, Lock, holder, is_held};

    #[test]
    fn one_at_a_time_and_free_after_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let lock = Lock::try_acquire(&path).unwrap().unwrap();
        assert_eq!(holder(&path), Some(std::process::id()));
        assert!(is_held(&path));
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        let started = Instant::now();
        let error = Lock::acquire(&path, Duration::from_millis(50)).unwrap_err();
        assert!(started.elapsed() >= Duration::from_millis(50));
        assert!(matches!(error, Error::Held { pid: Some(_), .. }));
        drop(lock);
        assert_eq!(holder(&path), None);
        assert!(!is_held(&path));
        std::fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        assert!(!is_held(&path), "left behind by a process whose number is another's now");
        assert!(!is_held(&dir.path().join("none")));
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }
}
