//! Whether an app watches its directory itself, so that it needs nobody to reload it.
//!
//! Invariant: only processes in the container's own mount namespace are asked, so radar's watches are never taken for
//! the app's. A watch counts when it is of a directory that is synced and hears of what is written: a log that is
//! followed is watched for other things.

use ksync_procfs::{InotifyMark, Namespace, Status};

use crate::container::{attachment::Attachment, watch};

/// IN_MODIFY and IN_CLOSE_WRITE (inotify(7)).
const WRITES: u32 = 0x2 | 0x8;
/// How many directories are looked at.
const MOST: usize = 8192;

/// A file or directory, and the process that watches it.
struct Watched {
    pid: i32,
    mark: InotifyMark,
}

/// Who watches the attached directory, as in "process 7 `node`". Blocks for as long as reading `/proc` takes.
pub(super) fn watcher(attachment: &Attachment, tid: i32) -> Result<Option<String>, String> {
    let watched = watched_near(tid)
        .map_err(|error| format!("look for the app's own watches: {}", ksync_common::chain(&error)))?;
    if watched.is_empty() {
        return Ok(None);
    }
    let synced = attachment.root.try_clone().map_err(|error| error.to_string())?;
    let patterns = attachment.ignore();
    let idle: watch::Idle = Box::new(move |path| !patterns.has_negation() && patterns.matches(path));
    let excluded = attachment.about.excluded();
    let marks = move || watch::marks(synced, excluded, idle, MOST.min(watch::share()));
    let synced = attachment.workers.wait(marks).map_err(|error| error.to_string())?;
    let synced = synced.map_err(|error| ksync_common::chain(&error))?;
    let found = watched.iter().find(|watched| synced.iter().any(|own| own.file == watched.mark.file));
    Ok(found.map(|watched| Status::of(watched.pid).unwrap_or_default().shown()))
}

/// What processes in the mount namespace of `tid` watch for writing.
fn watched_near(tid: i32) -> Result<Vec<Watched>, ksync_procfs::Error> {
    let mounts = ksync_procfs::namespace(tid, Namespace::Mount)?;
    // One that has ended meanwhile watches nothing.
    let near = |pid: &i32| ksync_procfs::namespace(*pid, Namespace::Mount).is_ok_and(|other| other == mounts);
    let near = ksync_procfs::processes()?.into_iter().filter(near);
    Ok(near.flat_map(|pid| watched_by(pid).into_iter().map(move |mark| Watched { pid, mark })).collect())
}

fn watched_by(pid: i32) -> Vec<InotifyMark> {
    let mut marks = ksync_procfs::inotify_marks(pid);
    marks.retain(|mark| mark.mask & WRITES != 0);
    marks
}

#[cfg(test)]
mod tests {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    use super::watched_by;
    use crate::container::watch;

    #[test]
    fn a_watch_for_writing_is_found_and_another_is_not() {
        let (dir, quiet) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let queue = inotify::init(CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&queue, dir.path().join("sub"), WatchFlags::CLOSE_WRITE).unwrap();
        inotify::add_watch(&queue, quiet.path(), WatchFlags::CREATE).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let watched = watched_by(me);
        let marks = |dir: &std::path::Path| {
            let root = ksync_tree::Root::open(dir).unwrap();
            watch::marks(root, Vec::new(), Box::new(|_| false), 100).unwrap()
        };
        let count = |dir: &std::path::Path| {
            let marks = marks(dir);
            // Other tests of this process watch other directories.
            marks.iter().filter(|own| watched.iter().any(|mark| mark.file == own.file)).count()
        };
        assert_eq!(marks(dir.path()).len(), 2);
        assert_eq!((count(dir.path()), count(quiet.path())), (1, 0));
    }
}
