//! Which directories are watched: all below the root but those that are left out, also of those that come later.
//!
//! inotify(7) watches single directories, so each is watched before its names are read: what comes into it is told by the
//! watch or found by the reading. macOS watches whole trees, and leaves nothing to do here.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, Weak, mpsc},
    thread,
};

use ksync_tree::Ignore;
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::debug;

use super::cookie::Cookies;

/// Whether the system watches directories one by one.
pub(super) const ONE_BY_ONE: bool = cfg!(target_os = "linux");

/// What is watched of a tree.
pub(super) struct RecursiveWatch {
    pub(super) root: PathBuf,
    pub(super) ignore: Ignore,
    /// Whoever listens owns it, and its end is the end of this.
    pub(super) watcher: Weak<Mutex<RecommendedWatcher>>,
    /// Directories that may not be read. Whoever may one day finds a change of them, or of one above.
    pub(super) barred: RefCell<BTreeSet<PathBuf>>,
}

/// What whoever watches directories that come is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It came.
    Came(PathBuf),
    /// Its attributes changed.
    Changed(PathBuf),
    /// A mark comes that is to go through the system's queue.
    Mark(u64),
    /// The cookie of this number was told of.
    Cookie(u64),
}

/// What is told by whoever watches directories that come.
#[derive(Debug)]
pub(super) enum Told<'d> {
    /// What came of watching this one.
    Watched(&'d Path, Result<Coverage, notify::Error>),
    /// This mark is through, and all that came before it was told.
    Marked(u64),
}

/// What came of setting watches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// All of them are set.
    All,
    /// The directory is gone, or nobody listens any more.
    Gone,
    /// The system allows no more of them.
    Full,
}

impl RecursiveWatch {
    /// Watches the directory at `top` and all below it.
    pub(super) fn add(&self, top: &Path) -> Result<Coverage, notify::Error> {
        let Some(watcher) = self.watcher.upgrade() else { return Ok(Coverage::Gone) };
        let watch =
            |path: &Path, mode| watcher.lock().unwrap_or_else(PoisonError::into_inner).watch(path, mode);
        if !ONE_BY_ONE {
            return watch(top, RecursiveMode::Recursive).map(|()| Coverage::All);
        }
        let mut todo = vec![top.to_owned()];
        while let Some(dir) = todo.pop() {
            match watch(&dir, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => return Ok(Coverage::Full),
                Err(error) if dir == self.root => return Err(error),
                Err(error) if dir == top && is_gone(&error) => return Ok(Coverage::Gone),
                // It went, or may not be read: the listing that syncs it says so.
                Err(error) => {
                    debug!(dir = %dir.display(), %error, "watch a directory");
                    if !is_gone(&error) {
                        self.barred.borrow_mut().insert(dir);
                    }
                    continue;
                }
            }
            // Only now, so that nothing can appear unseen in between.
            let names = match fs::read_dir(&dir) {
                Ok(names) => names,
                Err(error) if dir == self.root => return Err(notify::Error::io(error)),
                Err(error) => {
                    debug!(dir = %dir.display(), %error, "read a directory that is watched");
                    continue;
                }
            };
            for entry in names.filter_map(Result::ok) {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && self.is_wanted(&entry.path()) {
                    todo.push(entry.path());
                }
            }
        }
        Ok(Coverage::All)
    }

    /// Takes out those that may not be read, at or below `dir`: by now they may.
    fn barred_below(&self, dir: &Path) -> Vec<PathBuf> {
        let mut all = self.barred.borrow_mut();
        let below: Vec<PathBuf> = all.iter().filter(|barred| barred.starts_with(dir)).cloned().collect();
        all.retain(|barred| !barred.starts_with(dir));
        below
    }

    /// Whether anything in a directory may be synced. A name that is not UTF-8 is not.
    fn is_wanted(&self, path: &Path) -> bool {
        let rel = path.strip_prefix(&self.root).ok().and_then(relative);
        rel.is_some_and(|rel| self.ignore.has_negation() || !self.ignore.matches(&rel))
    }

    /// Watches the directories that come, and those that may be read from now on, until nobody sends any more; tells what came
    /// of each, and which marks are through.
    pub(super) fn follow(
        self,
        arrivals: mpsc::Receiver<Arrival>,
        mut cookies: Cookies,
        tell: impl Fn(Told<'_>) + Send + 'static,
    ) -> io::Result<()> {
        let follow = move || {
            for arrival in arrivals {
                let (mut dirs, mut through) = (Vec::new(), Vec::new());
                match arrival {
                    Arrival::Came(dir) => dirs.push(dir),
                    Arrival::Changed(dir) => dirs = self.barred_below(&dir),
                    Arrival::Mark(number) => through = cookies.ask(number),
                    Arrival::Cookie(number) => through = cookies.seen(number),
                }
                for dir in dirs {
                    if dir == self.root || self.is_wanted(&dir) {
                        tell(Told::Watched(&dir, self.add(&dir)));
                    }
                    // Events were lost.
                    if dir == self.root
                        && let Some(watcher) = self.watcher.upgrade()
                    {
                        through.extend(cookies.lost(&watcher));
                    }
                }
                for number in through {
                    tell(Told::Marked(number));
                }
            }
        };
        thread::Builder::new().name("ksync-recursive-watch".to_owned()).spawn(follow).map(drop)
    }
}

/// A relative path as text, `/` between names; none when it is not UTF-8 (such names are not synced).
pub(super) fn relative(below: &Path) -> Option<String> {
    let names: Option<Vec<&str>> = below.components().map(|c| c.as_os_str().to_str()).collect();
    Some(names?.join("/"))
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        }
        _ => false,
    }
}
