//! The watched directories by the kernel's numbers, and the meaning of an event in one of these.
//!
//! Invariant: a directory is opened component by component below the root, following no symlink, and watched
//! through that descriptor, so a name that is swapped in between can't lead the watch elsewhere.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use ksync_procfs::OWN_DESCRIPTORS;
use ksync_tree::{Kind, Root, covers, is_temp, stat_entry};
use rustix::{
    fs::inotify::{ReadFlags, WatchFlags, add_watch, remove_watch},
    fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat},
    io::Errno,
};

use super::{
    change::{Change, Idle, InotifyEvent},
    error::{Error, kernel},
};
use crate::container::mount::open_beneath;

/// How long a file may stay open for writing before it is looked at nevertheless.
const OPEN: Duration = Duration::from_millis(500);
/// Of a directory that was made with more in it than this, all is scanned.
const INSIDE: usize = 1024;
/// How long a deletion waits for the file that comes in its place.
const REPLACED: Duration = Duration::from_millis(20);

pub(super) struct Tree {
    queue: OwnedFd,
    root: Root,
    excluded: Vec<String>,
    idle: Idle,
    /// Directories that may be watched.
    most: usize,
    dirs: HashMap<i32, String>,
    /// What is reported at a later time, unless something comes that settles it.
    late: BTreeMap<String, Instant>,
    limited: bool,
}

impl Tree {
    pub(super) fn new(queue: OwnedFd, root: Root, excluded: Vec<String>, idle: Idle, most: usize) -> Self {
        Self {
            queue,
            root,
            excluded,
            idle,
            most,
            dirs: HashMap::new(),
            late: BTreeMap::new(),
            limited: false,
        }
    }

    pub(super) fn queue(&self) -> &OwnedFd {
        &self.queue
    }

    /// Whether a limit left directories unwatched.
    pub(super) fn limited(&self) -> bool {
        self.limited
    }

    /// Watches the directory at `top` and all below it. One that vanishes meanwhile is no error.
    pub(super) fn add(&mut self, top: &str) -> Result<(), Error> {
        self.add_telling(top, &mut |_| {})
    }

    /// The same; what is in them once they are watched is told.
    fn add_telling(&mut self, top: &str, tell: &mut dyn FnMut(Change)) -> Result<(), Error> {
        let mut todo = vec![top.to_owned()];
        while let Some(path) = todo.pop() {
            if self.is_excluded(&path) || (!path.is_empty() && (self.idle)(&path)) {
                continue;
            }
            if self.dirs.len() >= self.most {
                self.limited = true;
                return Ok(());
            }
            let _stay = self.root.enter(&path)?;
            let dir = match open_beneath(self.root.base(&path), &path, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(dir) => dir,
                // The last: not the container's to read, so what is in it is not synced.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) if !path.is_empty() => {
                    continue;
                }
                Err(errno) => return Err(kernel("open", &path)(errno)),
            };
            let flags = WatchFlags::CLOSE_WRITE
                | WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::ATTRIB
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            match add_watch(&self.queue, format!("{OWN_DESCRIPTORS}/{}", dir.as_raw_fd()), flags) {
                Ok(watch) => drop(self.dirs.insert(watch, path.clone())),
                Err(Errno::NOSPC) => {
                    self.limited = true;
                    return Ok(());
                }
                Err(Errno::ACCESS) if !path.is_empty() => continue,
                Err(errno) => return Err(kernel("add a watch", &path)(errno)),
            }
            // Only now, so that nothing can appear unseen in between.
            for (path, is_dir) in names(&dir, &path)? {
                if is_dir {
                    tell(Change::Directory(path.clone()));
                    todo.push(path);
                } else if !is_temp(&path) && !(self.idle)(&path) {
                    tell(Change::Path(path));
                }
            }
        }
        Ok(())
    }

    /// Stops watching `path` and all below it.
    fn forget(&mut self, path: &str) {
        let gone: Vec<i32> =
            self.dirs.iter().filter(|(_, dir)| covers(path, dir)).map(|(watch, _)| *watch).collect();
        for watch in gone {
            self.dirs.remove(&watch);
            match remove_watch(&self.queue, watch) {
                // The kernel drops the watch of a deleted directory by itself.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => tracing::warn!(path, %errno, "remove a watch"),
            }
        }
    }

    fn is_excluded(&self, path: &str) -> bool {
        self.excluded.iter().any(|excluded| covers(excluded, path))
    }

    /// What has waited long enough.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Change> {
        let due: Vec<String> =
            self.late.iter().filter(|(_, at)| **at <= now).map(|(path, _)| path.clone()).collect();
        for path in &due {
            self.late.remove(path);
        }
        due.into_iter().map(Change::Path).collect()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.late.values().min().copied()
    }

    /// When all that waits now has been told.
    pub(super) fn last_due(&self) -> Option<Instant> {
        self.late.values().max().copied()
    }

    /// What an event means.
    pub(super) fn take(&mut self, event: &InotifyEvent, now: Instant) -> Vec<Change> {
        let what = event.what;
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            // Directories may have come unseen.
            let added = self.add("");
            return self.watched("", added, vec![Change::All]);
        }
        if what.contains(ReadFlags::IGNORED) {
            self.dirs.remove(&event.watch);
            return Vec::new();
        }
        let Some(dir) = self.dirs.get(&event.watch) else { return Vec::new() };
        if what.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) {
            // Of the root nobody else tells; the check before the scan then finds what became of it.
            return if dir.is_empty() { vec![Change::All] } else { Vec::new() };
        }
        let Some(name) = event.name.as_deref().filter(|name| !name.is_empty()) else { return Vec::new() };
        let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
        if self.is_excluded(&path) {
            return Vec::new();
        }
        if is_temp(name) || (self.idle)(&path) {
            return Vec::new();
        }
        if what.contains(ReadFlags::ISDIR) { self.directory(what, path) } else { self.file(event, path, now) }
    }

    fn directory(&mut self, what: ReadFlags, path: String) -> Vec<Change> {
        if what.contains(ReadFlags::MOVED_FROM) {
            self.forget(&path);
        }
        if what.contains(ReadFlags::CREATE) {
            let mut changes = vec![Change::Directory(path.clone())];
            let added = self.add_telling(&path, &mut |change| {
                if changes.len() <= INSIDE {
                    changes.push(change);
                }
            });
            let changes = if changes.len() > INSIDE { vec![Change::Path(path.clone())] } else { changes };
            return self.watched(&path, added, changes);
        }
        if what.contains(ReadFlags::MOVED_TO) {
            let added = self.add(&path);
            return self.watched(&path, added, vec![Change::Path(path.clone())]);
        }
        if !what.contains(ReadFlags::ATTRIB) {
            return vec![Change::Path(path)];
        }
        // It may have become the container's to read.
        if self.dirs.values().any(|dir| *dir == path) {
            return vec![Change::Directory(path)];
        }
        let added = self.add(&path);
        self.watched(&path, added, vec![Change::Path(path.clone())])
    }

    fn watched(&mut self, path: &str, added: Result<(), Error>, changes: Vec<Change>) -> Vec<Change> {
        match added {
            Ok(()) => changes,
            Err(error) => {
                // Unwatched directories are covered by whole scans.
                tracing::error!(path, error = &error as &dyn std::error::Error, "watch a directory");
                self.limited = true;
                vec![Change::All]
            }
        }
    }

    fn file(&mut self, event: &InotifyEvent, path: String, now: Instant) -> Vec<Change> {
        let what = event.what;
        let later = |late: &mut BTreeMap<String, Instant>, path: String, wait| {
            late.entry(path).or_insert(now + wait);
            Vec::new()
        };
        if what.contains(ReadFlags::ATTRIB) && self.late.contains_key(&path) {
            return later(&mut self.late, path, OPEN);
        }
        if what.contains(ReadFlags::MODIFY) {
            return later(&mut self.late, path, OPEN);
        }
        if what.contains(ReadFlags::CREATE) && self.is_regular(&path) {
            return later(&mut self.late, path, OPEN);
        }
        if what.contains(ReadFlags::DELETE) {
            return later(&mut self.late, path, REPLACED);
        }
        self.late.remove(&path);
        vec![Change::Path(path)]
    }

    /// A new regular file is being written: the end of that is what counts.
    fn is_regular(&self, path: &str) -> bool {
        stat_entry(&self.root, path, false).is_ok_and(|entry| entry.is_some_and(|e| e.kind == Kind::File))
    }
}

/// What is in a directory, by its path below the root, and whether it is a directory.
fn names(dir: &OwnedFd, path: &str) -> Result<Vec<(String, bool)>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let read = |errno| kernel("read", path)(errno);
    let mut all = Vec::new();
    let mut names = match openat(dir, ".", flags, Mode::empty()).and_then(Dir::new) {
        Ok(names) => names,
        Err(Errno::NOENT) => return Ok(all),
        Err(errno) => return Err(read(errno)),
    };
    while let Some(entry) = names.read() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::NOENT) => return Ok(all),
            Err(errno) => return Err(read(errno)),
        };
        let Ok(name) = entry.file_name().to_str() else { continue };
        let is_dir = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()),
            _ => false,
        };
        if name != "." && name != ".." {
            all.push((if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }, is_dir));
        }
    }
    Ok(all)
}
