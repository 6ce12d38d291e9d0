//! How a mark goes through the system's queue of events: a file of our own is in the watch of a tree, and what is written
//! into it is told after all that had happened in the tree by then.
//!
//! Invariant: a mark is through when a cookie was seen that was written after it had come. Where there is no cookie, because
//! the system allows no more watches, it is through at once.
//!
//! inotify(7): events are read in the order in which they occurred, and one is in the queue before the call that it tells of
//! returns. On Linux the file has no name and lies in memory (memfd_create(2)); it is written through a descriptor that was
//! opened by its path, as the kernel tells nothing of what is written through the one that made it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ksync_common::{Drained, Marks};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tracing::debug;

/// The file. It is gone when this is dropped.
#[derive(Debug)]
struct Cookie {
    file: File,
    path: PathBuf,
}

impl Cookie {
    /// Makes one.
    #[cfg(target_os = "linux")]
    fn make() -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let path_of = |fd: &dyn AsRawFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let made = rustix::fs::memfd_create("ksync-cookie", rustix::fs::MemfdFlags::CLOEXEC)?;
        let file = OpenOptions::new().write(true).open(path_of(&made))?;
        let path = path_of(&file);
        Ok(Self { file, path })
    }

    /// Makes one.
    #[cfg(not(target_os = "linux"))]
    fn make() -> io::Result<Self> {
        let named = tempfile::Builder::new().prefix("ksync-cookie-").tempfile()?;
        let path = named.path().canonicalize()?;
        let (file, _) = named.keep().map_err(io::Error::from)?;
        Ok(Self { file, path })
    }

    /// Writes into it.
    fn touch(&self) -> io::Result<()> {
        self.file.write_all_at(b"x", 0)
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for Cookie {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "remove a file of ours");
        }
    }
}

/// The cookie that is in the watch, as whoever hears of events knows it: its path, and its number among those of the watch.
#[derive(Debug, Clone, Default)]
pub(super) struct InWatch(Arc<Mutex<Option<(PathBuf, u64)>>>);

impl InWatch {
    fn set(&self, cookie: Option<(PathBuf, u64)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cookie;
    }

    /// The number of the cookie that has this path.
    pub(super) fn number(&self, path: &Path) -> Option<u64> {
        let cookie = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cookie.as_ref().filter(|(of, _)| of == path).map(|(_, number)| *number)
    }
}

/// The marks that wait for the queue.
#[derive(Debug)]
pub(super) struct Cookies {
    marks: Marks,
    cookie: Option<Cookie>,
    number: u64,
    in_watch: InWatch,
}

impl Cookies {
    /// None waits; the first cookie is put into the watch.
    pub(super) fn start(watcher: &Mutex<RecommendedWatcher>, in_watch: InWatch) -> Self {
        let mut cookies = Self { marks: Marks::default(), cookie: None, number: 0, in_watch };
        cookies.renew(watcher);
        cookies
    }

    /// A mark comes. Returns the marks that are through.
    pub(super) fn ask(&mut self, number: u64) -> Vec<u64> {
        if self.marks.ask(number) { self.touch() } else { Vec::new() }
    }

    /// The cookie of this number was seen. Returns the marks that are through.
    pub(super) fn seen(&mut self, number: u64) -> Vec<u64> {
        if number != self.number {
            return Vec::new();
        }
        let Drained { mut through, again } = self.marks.drained();
        if again {
            through.extend(self.touch());
        }
        through
    }

    /// Events were lost, a cookie among them perhaps: another is written. Returns the marks that are through.
    pub(super) fn lost(&mut self, watcher: &Mutex<RecommendedWatcher>) -> Vec<u64> {
        self.renew(watcher);
        if self.marks.is_asking() { self.touch() } else { Vec::new() }
    }

    /// Another cookie in the place of the one that is in the watch. What was written into that one is not taken for what is
    /// written into this one: it has no watch any more when this one gets its number.
    fn renew(&mut self, watcher: &Mutex<RecommendedWatcher>) {
        let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = self.cookie.take()
            && let Err(error) = watcher.unwatch(&before.path)
        {
            debug!(%error, "take a cookie out of the watch");
        }
        self.number += 1;
        let made = Cookie::make().map_err(notify::Error::io).and_then(|cookie| {
            self.in_watch.set(Some((cookie.path.clone(), self.number)));
            watcher.watch(&cookie.path, RecursiveMode::NonRecursive)?;
            Ok(cookie)
        });
        self.cookie = made.inspect_err(|error| debug!(%error, "put a cookie into the watch")).ok();
    }

    fn touch(&mut self) -> Vec<u64> {
        match self.cookie.as_ref().map(Cookie::touch) {
            Some(Ok(())) => return Vec::new(),
            Some(Err(error)) => debug!(%error, "write a cookie"),
            None => {}
        }
        let mut through = Vec::new();
        while self.marks.is_asking() {
            through.extend(self.marks.drained().through);
        }
        through
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, mpsc},
        time::Duration,
    };

    use notify::{Config, Event, EventKind, RecommendedWatcher, Watcher, event::ModifyKind};

    use super::{Cookies, InWatch};

    /// A watch, and the numbers of cookies that it tells of.
    fn watch(in_watch: &InWatch) -> (Mutex<RecommendedWatcher>, mpsc::Receiver<u64>) {
        let (seen_tx, seen) = mpsc::channel();
        let in_watch = in_watch.clone();
        let hear = move |event: notify::Result<Event>| {
            let event = event.unwrap();
            if matches!(event.kind, EventKind::Modify(ModifyKind::Data(_))) {
                let _ = seen_tx.send(in_watch.number(&event.paths[0]).unwrap());
            }
        };
        (Mutex::new(RecommendedWatcher::new(hear, Config::default()).unwrap()), seen)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_mark_is_through_when_a_cookie_is_seen_that_was_written_after_it_had_come() {
        const LIMIT: Duration = Duration::from_secs(5);
        let in_watch = InWatch::default();
        let (watcher, seen) = watch(&in_watch);
        let mut cookies = Cookies::start(&watcher, in_watch);
        assert_eq!(cookies.ask(1), [0; 0]);
        assert_eq!(cookies.ask(2), [0; 0]);
        let first = seen.recv_timeout(LIMIT).unwrap();
        assert_eq!(cookies.seen(first), [1]);
        // It was written once more, for the second mark. Where events are lost, another is.
        let second = seen.recv_timeout(LIMIT).unwrap();
        assert_eq!(first, second);
        assert_eq!(cookies.lost(&watcher), [0; 0]);
        assert_eq!(cookies.ask(3), [0; 0]);
        assert_eq!(cookies.seen(second), [0; 0], "it is of a watch that may have lost it: it may come late");
        let third = seen.recv_timeout(LIMIT).unwrap();
        assert_ne!(second, third);
        assert_eq!(cookies.seen(third), [2]);
        assert_eq!(cookies.seen(seen.recv_timeout(LIMIT).unwrap()), [3]);
        assert!(seen.try_recv().is_err());
        // Without any, nothing waits for ever.
        cookies.cookie = None;
        assert_eq!(cookies.ask(4), [4]);
    }
}
