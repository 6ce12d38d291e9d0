//! Noticing local changes: the operating system's events, turned into what they mean for the folder.
//!
//! Invariant: whatever changes after [`Notices::watch`] returned, and is not left out, is told of, or [`Notice::Everything`]
//! is. When it is looked at is [`super::gather`]'s.

mod reach;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc as std_mpsc},
};

use ksync_tree::Ignore;
use notify::{
    Config, Event, EventKind, RecommendedWatcher, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use tokio::{sync::mpsc, time::Instant};

use reach::{ONE_BY_ONE, Reach, Reached};

/// Something under the local path changed. Paths are relative to it, `/` between names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// A new file, which whoever made it is about to write.
    Made(String),
    /// A file is being written.
    Writing(String),
    /// A file's writer has closed it.
    Written(String),
    /// Its attributes changed; of a system that tells no more, anything did.
    Changed(String),
    /// It was removed or moved away.
    Gone(String),
    /// It is there as a whole: a directory, a symlink, what was moved here. What is in it is not told of by itself.
    Came(String),
    /// The end of a rename. Of `from` it was told before that it is gone.
    Moved { from: String, to: String },
    /// A name that is not UTF-8 came or went: it can't be synced.
    Nameless,
    /// syncthing made this conflict copy.
    Conflict(String),
    /// Events were lost: look at everything.
    Everything,
    /// The system allows no more watches: changes in some directories aren't told of.
    Unwatched,
    /// Watching failed, with a sentence.
    Failed(String),
}

type Tx = mpsc::UnboundedSender<(Instant, Notice)>;

/// A watch of a tree; ends when dropped.
pub(super) struct Notices {
    _watcher: Arc<Mutex<RecommendedWatcher>>,
    /// Each with when it came.
    pub(super) rx: mpsc::UnboundedReceiver<(Instant, Notice)>,
}

impl Notices {
    /// Watches everything below `root` that `ignore` does not name. Returns when the watch is in place.
    pub(super) fn watch(root: &Path, ignore: Ignore) -> Result<Self, notify::Error> {
        let (tx, rx) = mpsc::unbounded_channel();
        let (arrivals_tx, arrivals) = std_mpsc::channel();
        let mut sink = Sink {
            base: root.to_owned(),
            ignore: ignore.clone(),
            tx: tx.clone(),
            arrivals: arrivals_tx,
            leaving: None,
        };
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(move |event| sink.take(event), config)?;
        let watcher = Arc::new(Mutex::new(watcher));
        let reach = Reach { root: root.to_owned(), ignore, watcher: Arc::downgrade(&watcher) };
        if reach.add(root)? == Reached::Full {
            send(&tx, Notice::Unwatched);
        }
        let base = root.to_owned();
        let told = reach.follow(arrivals, move |dir, reached| arrived(&tx, &base, dir, reached));
        told.map_err(notify::Error::io)?;
        Ok(Self { _watcher: watcher, rx })
    }
}

/// Nobody may listen any more: the folder is being closed.
fn send(tx: &Tx, notice: Notice) {
    let _ = tx.send((Instant::now(), notice));
}

/// What it means that a directory came, and was watched.
fn arrived(tx: &Tx, base: &Path, dir: &Path, reached: Result<Reached, notify::Error>) {
    let Some(rel) = dir.strip_prefix(base).ok().and_then(text) else { return };
    match reached {
        // What was lost is everything.
        Ok(_) if rel.is_empty() => send(tx, Notice::Everything),
        Ok(Reached::All) => send(tx, Notice::Came(rel)),
        Ok(Reached::Gone) => send(tx, Notice::Gone(rel)),
        Ok(Reached::Full) => {
            send(tx, Notice::Unwatched);
            send(tx, Notice::Came(rel));
        }
        Err(error) => send(tx, Notice::Failed(error.to_string())),
    }
}

/// Where the system's events come in.
struct Sink {
    base: PathBuf,
    ignore: Ignore,
    tx: Tx,
    /// Directories that came.
    arrivals: std_mpsc::Sender<PathBuf>,
    /// The first end of a rename, by the system's number for it.
    leaving: Option<(usize, String)>,
}

impl Sink {
    fn take(&mut self, event: notify::Result<Event>) {
        match event {
            Ok(event) => self.classify(&event),
            Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                send(&self.tx, Notice::Unwatched);
            }
            Err(error) => send(&self.tx, Notice::Failed(error.to_string())),
        }
    }

    /// Tells what an event means.
    fn classify(&mut self, event: &Event) {
        if event.need_rescan() {
            // Directories may have come unseen: they are watched first. Nobody listens only at the end.
            let _ = self.arrivals.send(self.base.clone());
            return;
        }
        let meaning: fn(String) -> Notice = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Notice::Written,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Notice::Gone,
            // The pair's own event repeats what From and To have said.
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
            EventKind::Create(CreateKind::File) if ONE_BY_ONE => Notice::Made,
            EventKind::Modify(ModifyKind::Data(_)) if ONE_BY_ONE => Notice::Writing,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Notice::Came,
            EventKind::Modify(_) | EventKind::Any | EventKind::Other => Notice::Changed,
        };
        for path in &event.paths {
            self.tell(event, path, meaning);
        }
    }

    fn tell(&mut self, event: &Event, path: &Path, meaning: fn(String) -> Notice) {
        // An event may tell of both ends of a rename, one of them elsewhere.
        let Ok(below) = path.strip_prefix(&self.base) else { return };
        let Some(rel) = text(below) else { return send(&self.tx, Notice::Nameless) };
        if syncthing::conflict::copy(&rel).is_some() {
            return send(&self.tx, Notice::Conflict(rel));
        }
        if !rel.is_empty() && (ksync_tree::is_temp(name(&rel)) || self.ignore.matches(&rel)) {
            // What is in a directory that is left out may be wanted.
            if ONE_BY_ONE && self.ignore.has_negation() && is_directory(path) {
                let _ = self.arrivals.send(path.to_owned());
            }
            return;
        }
        let notice = meaning(rel);
        match &notice {
            Notice::Gone(rel) => self.leaving = event.tracker().map(|number| (number, rel.clone())),
            Notice::Made(rel) => match is_to_be_written(path) {
                // It is told of again: that it went.
                None => return,
                Some(true) => {}
                Some(false) => return send(&self.tx, Notice::Came(rel.clone())),
            },
            Notice::Came(rel) => {
                let left = self.leaving.take().filter(|(number, _)| event.tracker() == Some(*number));
                let came = left.map(|(_, from)| Notice::Moved { from, to: rel.clone() });
                let is_directory = ONE_BY_ONE && is_directory(path);
                // A directory that was moved as a whole is looked at at once with its old name, and again when it is watched.
                if !is_directory || came.is_some() {
                    send(&self.tx, came.unwrap_or_else(|| notice.clone()));
                }
                if is_directory {
                    let _ = self.arrivals.send(path.to_owned());
                }
                return;
            }
            _ => {}
        }
        send(&self.tx, notice);
    }
}

fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

/// Whether a new name is of a file that whoever made it has open: not a symlink, or another name of a file. None when it
/// is gone.
fn is_to_be_written(path: &Path) -> Option<bool> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().ok().map(|meta| meta.is_file() && meta.nlink() == 1)
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
        collections::BTreeSet,
        fs,
        os::{unix, unix::ffi::OsStrExt},
        path::Path,
        time::Duration,
    };

    use ksync_tree::Ignore;
    use notify::{
        Event, EventKind,
        event::{Flag, ModifyKind, RenameMode},
    };
    use tokio::sync::mpsc;

    use super::{Notice, Notices, Sink, may_be_synced};

    fn watch(dir: &Path, patterns: &[&str]) -> Notices {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Notices::watch(dir, Ignore::with_defaults(&patterns).unwrap()).unwrap()
    }

    /// What is told until `last` is.
    async fn until(notices: &mut Notices, last: &Notice) -> Vec<Notice> {
        let mut told = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(5), notices.rx.recv());
            let (_, notice) = next.await.unwrap_or_else(|_| panic!("{last:?} after {told:?}")).unwrap();
            let over = notice == *last;
            told.push(notice);
            if over {
                return told;
            }
        }
    }

    /// Tells what was told so far.
    async fn so_far(dir: &Path, notices: &mut Notices) -> Vec<Notice> {
        unix::fs::symlink("nowhere", dir.join("end")).unwrap();
        let mut told = until(notices, &Notice::Came("end".into())).await;
        fs::remove_file(dir.join("end")).unwrap();
        until(notices, &Notice::Gone("end".into())).await;
        told.pop();
        told
    }

    fn moved(from: &str, to: &str) -> Notice {
        Notice::Moved { from: from.into(), to: to.into() }
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn each_kind_of_change_is_told_as_what_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut notices = watch(dir.path(), &[]);
        let (made, writing, written) = (Notice::Made, Notice::Writing, Notice::Written);
        let (gone, came, changed) = (Notice::Gone, Notice::Came, Notice::Changed);
        let name = || "ü".to_owned();
        fs::write(at("ü"), "1").unwrap();
        assert_eq!(so_far(dir.path(), &mut notices).await, [made(name()), writing(name()), written(name())]);
        fs::set_permissions(at("ü"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(so_far(dir.path(), &mut notices).await, [changed(name())]);
        fs::rename(at("ü"), at("b")).unwrap();
        assert_eq!(so_far(dir.path(), &mut notices).await, [gone(name()), moved("ü", "b")]);
        fs::rename(at("b"), at("b~")).unwrap();
        assert_eq!(so_far(dir.path(), &mut notices).await, [gone("b".into())]);
        fs::rename(at("b~"), at("b")).unwrap();
        assert_eq!(so_far(dir.path(), &mut notices).await, [came("b".into())]);
        fs::hard_link(at("b"), at("c")).unwrap();
        assert_eq!(so_far(dir.path(), &mut notices).await, [came("c".into())]);
        fs::read(at("b")).unwrap();
        fs::write(at(".b.swp"), "").unwrap();
        assert_eq!(so_far(dir.path(), &mut notices).await, [], "reads, and what is left out");
        fs::write(dir.path().join::<&std::ffi::OsStr>(std::ffi::OsStr::from_bytes(b"a\xff")), "").unwrap();
        let told = so_far(dir.path(), &mut notices).await;
        assert!(!told.is_empty() && told.iter().all(|notice| *notice == Notice::Nameless), "{told:?}");
    }

    /// All at once, while the watches are being set.
    #[tokio::test]
    async fn nothing_is_lost_of_a_directory_that_is_made_and_filled_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut notices = watch(dir.path(), &[]);
        for round in 0..20 {
            let all: BTreeSet<String> =
                (0..100).map(|n| format!("{round}/{}/{}/{n}", n % 7, n % 3)).collect();
            for path in &all {
                fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
                fs::write(dir.path().join(path), "").unwrap();
            }
            let mut missing = all.clone();
            while !missing.is_empty() {
                let next = tokio::time::timeout(Duration::from_secs(5), notices.rx.recv()).await;
                match next.unwrap_or_else(|_| panic!("{missing:?}")).unwrap().1 {
                    // All below it is looked at.
                    Notice::Came(top) => missing.retain(|path| !path.starts_with(&format!("{top}/"))),
                    Notice::Written(path) => drop(missing.remove(&path)),
                    _ => {}
                }
            }
        }
        // And all of them are watched.
        for path in ["0/6/2/20", "19/1/1/1"] {
            fs::write(dir.path().join(path), "again").unwrap();
            until(&mut notices, &Notice::Written(path.into())).await;
        }
    }

    #[tokio::test]
    async fn a_directory_that_was_moved_is_watched_under_its_new_name_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        let mut notices = watch(dir.path(), &[]);
        fs::rename(at("a"), at("z")).unwrap();
        until(&mut notices, &moved("a", "z")).await;
        until(&mut notices, &Notice::Came("z".into())).await;
        fs::write(at("z/b/c/f"), "").unwrap();
        let told = until(&mut notices, &Notice::Written("z/b/c/f".into())).await;
        let old = |notice: &Notice| matches!(notice, Notice::Made(path) if path.starts_with("a/"));
        assert!(!told.iter().any(old), "{told:?}");
        // Out of the tree, and back.
        let outside = tempfile::tempdir_in(dir.path().parent().unwrap()).unwrap();
        fs::rename(at("z/b"), outside.path().join("b")).unwrap();
        until(&mut notices, &Notice::Gone("z/b".into())).await;
        // The watch goes when all is told that was there to be told.
        so_far(dir.path(), &mut notices).await;
        fs::write(outside.path().join("b/c/f"), "out").unwrap();
        let told = so_far(dir.path(), &mut notices).await;
        assert!(!told.iter().any(|notice| matches!(notice, Notice::Written(_))), "{told:?}");
        fs::rename(outside.path().join("b"), at("b")).unwrap();
        until(&mut notices, &Notice::Came("b".into())).await;
        fs::write(at("b/c/f"), "in").unwrap();
        until(&mut notices, &Notice::Written("b/c/f".into())).await;
    }

    /// As the kernel counts them.
    #[cfg(target_os = "linux")]
    fn watches() -> usize {
        let infos = fs::read_dir("/proc/self/fdinfo").unwrap().filter_map(Result::ok);
        let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
        texts.map(|text| text.lines().filter(|line| line.starts_with("inotify ")).count()).max().unwrap_or(0)
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn what_is_left_out_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        // More than any other test of this process has.
        for number in 0..700 {
            fs::create_dir_all(dir.path().join(format!("node_modules/{number}/deep"))).unwrap();
            fs::create_dir_all(dir.path().join(format!("src/{number}"))).unwrap();
        }
        let mut notices = watch(dir.path(), &["/node_modules", "/late"]);
        assert_eq!(watches(), 702, "the root, src and what is in it");
        fs::create_dir_all(dir.path().join("late/a/b")).unwrap();
        fs::write(dir.path().join("node_modules/1/deep/f"), "").unwrap();
        fs::create_dir_all(dir.path().join("src/new/__pycache__/deep")).unwrap();
        until(&mut notices, &Notice::Came("src/new".into())).await;
        assert_eq!(so_far(dir.path(), &mut notices).await, []);
        assert_eq!(watches(), 703);
        // Something in it is wanted: then it is watched, because its directory has to be.
        drop(notices);
        let mut notices = watch(dir.path(), &["!/node_modules/7", "/node_modules"]);
        assert_eq!(watches(), 2109, "all of them");
        fs::write(dir.path().join("node_modules/7/f"), "").unwrap();
        fs::write(dir.path().join("node_modules/8/f"), "").unwrap();
        until(&mut notices, &Notice::Written("node_modules/7/f".into())).await;
        assert_eq!(so_far(dir.path(), &mut notices).await, []);
    }

    #[tokio::test]
    async fn where_events_were_lost_directories_are_watched_before_everything_is_looked_at() {
        let (tx, mut rx) = mpsc::unbounded_channel();
        let (arrivals, arrived) = std::sync::mpsc::channel();
        let base = Path::new("/w").to_owned();
        let mut sink =
            Sink { base: base.clone(), ignore: Ignore::none(), tx: tx.clone(), arrivals, leaving: None };
        sink.take(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(rx.try_recv().is_err());
        assert_eq!(arrived.try_recv().as_ref(), Ok(&base));
        super::arrived(&tx, &base, &base, Ok(super::Reached::All));
        assert_eq!(rx.try_recv().unwrap().1, Notice::Everything);
        sink.take(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        assert_eq!(rx.try_recv().unwrap().1, Notice::Unwatched);
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        sink.take(Ok(Event::new(to).add_path("/elsewhere".into())));
        assert!(rx.try_recv().is_err(), "the other end of a rename out of it");
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
