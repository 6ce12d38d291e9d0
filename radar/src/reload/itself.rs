//! Whether an app watches its directory itself, so that it needs nobody to reload it.
//!
//! Invariant: only processes in the container's own mount namespace are asked, so radar's watches are never taken for
//! the app's. A watch counts when it is of a directory that is synced and hears of what is written: a log that is
//! followed is watched for other things.

use std::{fs, io, path::PathBuf};

use super::inspect::Status;
use crate::container::{
    attachment::Attachment,
    watch::{
        self,
        mark::{self, Mark},
    },
};

/// IN_MODIFY and IN_CLOSE_WRITE (inotify(7)).
const WRITES: u32 = 0x2 | 0x8;
/// How many directories are looked at.
const MOST: usize = 8192;

/// Who watches the attached directory, as in "process 7 `node`". Blocks for as long as reading `/proc` takes.
pub(super) fn watcher(attachment: &Attachment, tid: i32) -> Result<Option<String>, String> {
    let watched = watched_near(tid).map_err(|error| format!("look for the app's own watches: {error}"))?;
    if watched.is_empty() {
        return Ok(None);
    }
    let synced = attachment.root.try_clone().map_err(|error| error.to_string())?;
    let patterns = attachment.ignore();
    let idle: watch::Idle = Box::new(move |path| !patterns.has_negation() && patterns.matches(path));
    let excluded = attachment.about.excluded();
    let synced = watch::marks(synced, excluded, idle, MOST.min(watch::share()));
    let synced = synced.map_err(|error| ksync_common::chain(&error))?;
    let found = watched.iter().find(|(_, mark)| synced.iter().any(|own| own.file == mark.file));
    Ok(found.map(|(pid, _)| Status::of(*pid).unwrap_or_default().shown()))
}

/// What processes in the mount namespace of `tid` watch for writing.
fn watched_near(tid: i32) -> io::Result<Vec<(i32, Mark)>> {
    let view = view_of(tid)?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile watches nothing.
        if view_of(pid).is_ok_and(|other| other == view) {
            found.extend(watched_by(pid).into_iter().map(|mark| (pid, mark)));
        }
    }
    Ok(found)
}

fn view_of(pid: i32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/mnt"))
}

fn watched_by(pid: i32) -> Vec<Mark> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let queues =
        files.filter(|file| fs::read_link(file.path()).is_ok_and(|to| to.ends_with("anon_inode:inotify")));
    queues
        .filter_map(|queue| {
            fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", queue.file_name().to_str()?)).ok()
        })
        .flat_map(|info| mark::read(&info))
        .filter(|mark| mark.mask & WRITES != 0)
        .collect()
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
