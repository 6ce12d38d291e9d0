//! Noticing local changes: the operating system's events, turned into paths and when to look at them.
//!
//! A file that is being written is looked at when its writer closes it, so that no half-written content is
//! sent; a writer that keeps it open is not waited for longer than [`OPEN_LIMIT`].

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ksync_tree::Ignore;
use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use tokio::{sync::mpsc, time::Instant};

use super::conflict;

/// How long a file that stays open for writing is left alone after a write.
pub(super) const OPEN_LIMIT: Duration = Duration::from_millis(100);

/// Something under the local path changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// Look now.
    Now(String),
    /// It is being written: look when it is closed, at the latest after [`OPEN_LIMIT`].
    Soon(String),
    /// A name that is not UTF-8 came or went: it can't be synced.
    Nameless,
    /// syncthing made this conflict copy.
    Conflict(String),
    /// Events were lost: look at everything.
    Everything,
    /// Watching failed, with a sentence.
    Failed(String),
}

/// A recursive watch; ends when dropped.
pub(super) struct Notices {
    _watcher: RecommendedWatcher,
    /// Each with when it came.
    pub(super) rx: mpsc::UnboundedReceiver<(Instant, Notice)>,
}

impl Notices {
    /// Watches everything below `root` that `ignore` does not name. Returns when the watch is in place.
    pub(super) fn watch(root: &Path, ignore: Ignore) -> Result<Self, notify::Error> {
        let (tx, rx) = mpsc::unbounded_channel();
        let base = root.to_owned();
        let sink = move |event: notify::Result<Event>| {
            let now = Instant::now();
            let notices = match event {
                Ok(event) => classify(&base, &ignore, &event),
                Err(error) => vec![Notice::Failed(error.to_string())],
            };
            for notice in notices {
                // Nobody listens any more: the folder is being closed.
                let _ = tx.send((now, notice));
            }
        };
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(sink, config)?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(Self { _watcher: watcher, rx })
    }
}

/// What an event means for the folder at `base`.
fn classify(base: &Path, ignore: &Ignore, event: &Event) -> Vec<Notice> {
    if event.need_rescan() {
        return vec![Notice::Everything];
    }
    let soon = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => false,
        // The pair's own event repeats what From and To have said.
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return Vec::new(),
        // A new file is closed by whoever made it; a hard link is not, and found when its time is over.
        EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
            cfg!(target_os = "linux")
        }
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => false,
    };
    let notice = |path: &PathBuf| {
        // An event may tell of both ends of a rename, one of them elsewhere.
        let below = path.strip_prefix(base).ok()?;
        let Some(rel) = text(below) else { return Some(Notice::Nameless) };
        if conflict::original(&rel).is_some() {
            return Some(Notice::Conflict(rel));
        }
        let skipped = !rel.is_empty() && (ksync_tree::is_temp(name(&rel)) || ignore.matches(&rel));
        (!skipped).then_some(if soon { Notice::Soon(rel) } else { Notice::Now(rel) })
    };
    let mut notices: Vec<Notice> = event.paths.iter().filter_map(notice).collect();
    // The watch of a new directory is set after this is told: what is made in it until then is found by a second look.
    let new = matches!(
        event.kind,
        EventKind::Create(CreateKind::Folder) | EventKind::Modify(ModifyKind::Name(RenameMode::To))
    );
    if new && event.paths.iter().any(|path| path.is_dir() && !path.is_symlink()) {
        let again = |notice: &Notice| match notice {
            Notice::Now(path) => Some(Notice::Soon(path.clone())),
            _ => None,
        };
        let more: Vec<Notice> = notices.iter().filter_map(again).collect();
        notices.extend(more);
    }
    notices
}

fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Whether there is something at `path` that can be synced. What is gone may have been a pipe, a socket or a device too.
pub(super) fn may_be_synced(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_file() || meta.is_dir() || meta.is_symlink())
}

/// A relative path as text, `/` between names; none when it is not UTF-8 (such names are not synced).
fn text(below: &Path) -> Option<String> {
    let names: Option<Vec<&str>> = below.components().map(|c| c.as_os_str().to_str()).collect();
    Some(names?.join("/"))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::{unix, unix::ffi::OsStrExt},
        path::{Path, PathBuf},
    };

    use ksync_tree::Ignore;
    use notify::{
        Event, EventKind,
        event::{AccessKind, AccessMode, DataChange, Flag, ModifyKind, RenameMode},
    };

    use super::{Notice, classify, may_be_synced};

    fn seen(kind: EventKind, path: &str) -> Vec<Notice> {
        let ignore = Ignore::with_defaults(&[]).unwrap();
        classify(Path::new("/w"), &ignore, &Event::new(kind).add_path(PathBuf::from(path)))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_write_waits_for_its_close() {
        let write = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert_eq!(seen(write, "/w/a/b"), [Notice::Soon("a/b".into())]);
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert_eq!(seen(close, "/w/a/b"), [Notice::Now("a/b".into())]);
    }

    #[test]
    fn a_rename_is_looked_at_once_at_each_end() {
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert_eq!(seen(to, "/w/ü"), [Notice::Now("ü".into())]);
        assert_eq!(seen(EventKind::Modify(ModifyKind::Name(RenameMode::Both)), "/w/ü"), []);
    }

    #[test]
    fn ignored_names_and_reads_are_no_changes() {
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert_eq!(seen(to, "/w/.git/index"), []);
        assert_eq!(seen(to, "/w/.syncthing.x.tmp"), []);
        assert_eq!(seen(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/w/a"), []);
    }

    #[test]
    fn a_name_that_is_not_utf8_is_told_of() {
        let path: PathBuf = std::ffi::OsStr::from_bytes(b"/w/a\xff").into();
        let ignore = Ignore::new(&[]).unwrap();
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let event = |path| Event::new(to).add_path(path);
        assert_eq!(classify(Path::new("/w"), &ignore, &event(path)), [Notice::Nameless]);
        assert_eq!(classify(Path::new("/w"), &ignore, &event("/elsewhere".into())), []);
    }

    #[test]
    fn lost_events_mean_everything() {
        let event = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(classify(Path::new("/w"), &Ignore::new(&[]).unwrap(), &event), [Notice::Everything]);
    }

    #[test]
    fn pipes_sockets_and_what_is_gone_cannot_be_synced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("dir")).unwrap();
        unix::fs::symlink("gone", at("link")).unwrap();
        let _socket = unix::net::UnixListener::bind(at("socket")).unwrap();
        let can: Vec<bool> =
            ["file", "dir", "link", "socket", "gone"].map(|name| may_be_synced(&at(name))).into();
        assert_eq!(can, [true, true, true, false, false]);
    }
}
