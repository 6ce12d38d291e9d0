//! Local changes: the operating system's events, turned into what they mean for the folder.
//!
//! Invariant: each change after [`FsWatch::start`] returned is an event here, or [`FsEvent::Rescan`] comes, unless the path is
//! ignored. When the path of an event is looked at, [`super::debounce`] decides.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc as std_mpsc},
};

use super::{
    channel,
    cookie::{Cookies, InWatch},
    recursive::{Arrival, Coverage, ONE_BY_ONE, RecursiveWatch, Told, relative},
};
use ksync_tree::Ignore;
use notify::{
    Config, Event, EventKind, RecommendedWatcher, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};

/// Something under the local path changed. Paths are relative to it, `/` between names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::local) enum FsEvent {
    /// A new file, which its maker is about to write.
    Created(String),
    /// A file is being written.
    Writing(String),
    /// A file's writer has closed it.
    Closed(String),
    /// A file's attributes changed; on a system that tells no more than this, anything of the file.
    Changed(String),
    /// A path was removed or moved away.
    Removed(String),
    /// A path is there as a whole: a directory, a symlink, a file that was moved here. What a directory holds has no events of
    /// its own.
    Appeared(String),
    /// The end of a rename. [`FsEvent::Removed`] came for `from` before.
    Renamed { from: String, to: String },
    /// Events were lost: everything is looked at.
    Rescan,
    /// The system allows no more watches: changes in some directories have no events.
    WatchLimit,
    /// Watching failed, with a sentence.
    Failed(String),
    /// All that had changed when the mark of this number was asked for has been told.
    Marked(u64),
}

impl FsEvent {
    /// Whether a look at everything finds the change.
    fn is_found_by_a_look(&self) -> bool {
        !matches!(self, Self::WatchLimit | Self::Marked(_))
    }
}

/// Events that wait for the folder's task, at most. What comes beyond that is lost, and everything is looked at instead, as
/// where the system's own queue has no room; an event that no look makes up for is not.
const WAITING: usize = 1 << 16;

type Tx = channel::Tx<FsEvent>;

/// A watch of a tree; ends when dropped.
pub(in crate::local) struct FsWatch {
    /// None where the system allows no more of them.
    _watcher: Option<Arc<Mutex<RecommendedWatcher>>>,
    /// Marks go with the directories that came, as these are told of later than others.
    arrivals: Option<std_mpsc::Sender<Arrival>>,
    /// As long as this is there, more may come.
    tx: Tx,
    /// Each with when it came.
    pub(in crate::local) rx: channel::Rx<FsEvent>,
}

impl FsWatch {
    /// Watches everything below `root` that `ignore` does not name. Returns when the watch is in place.
    pub(in crate::local) fn start(root: &Path, ignore: Ignore) -> Result<Self, notify::Error> {
        let config = Config::default().with_follow_symlinks(false);
        Self::start_with(root, ignore, |mut sink| {
            RecommendedWatcher::new(move |event| sink.take(event), config)
        })
    }

    /// Has [`FsEvent::Marked`] told after all that has changed by now: the system's queue has an event before the call that it
    /// tells of returns. Where the system watches only some directories, changes in the others are not among it.
    pub(in crate::local) fn mark(&self, number: u64) {
        let sent = self.arrivals.as_ref().map(|arrivals| arrivals.send(Arrival::Mark(number)));
        if !matches!(sent, Some(Ok(()))) {
            self.tx.send(FsEvent::Marked(number));
        }
    }

    fn start_with(
        root: &Path,
        ignore: Ignore,
        watcher: impl FnOnce(Sink) -> notify::Result<RecommendedWatcher>,
    ) -> Result<Self, notify::Error> {
        let (tx, rx) = channel::channel(WAITING, FsEvent::Rescan, FsEvent::is_found_by_a_look);
        // Without a bound: the system's thread must not wait for whoever reads these, because he asks that thread to watch
        // each of them. There is one for a directory that came, and he waits for nothing else.
        let (arrivals_tx, arrivals) = std_mpsc::channel();
        let in_watch = InWatch::default();
        let sink = Sink {
            base: root.to_owned(),
            ignore: ignore.clone(),
            tx: tx.clone(),
            arrivals: arrivals_tx.clone(),
            cookie: in_watch.clone(),
            leaving: None,
        };
        let watcher = match watcher(sink) {
            Ok(watcher) => Arc::new(Mutex::new(watcher)),
            // As with directories beyond the limit: none is watched.
            Err(error) if is_exhausted(&error) => {
                tx.send(FsEvent::WatchLimit);
                return Ok(Self { _watcher: None, arrivals: None, tx, rx });
            }
            Err(error) => return Err(error),
        };
        // Before the directories, which may be more than the system lets watch.
        let cookies = Cookies::start(&watcher, in_watch);
        let recursive = RecursiveWatch {
            root: root.to_owned(),
            ignore,
            watcher: Arc::downgrade(&watcher),
            barred: RefCell::new(BTreeSet::new()),
        };
        if recursive.add(root)? == Coverage::Full {
            tx.send(FsEvent::WatchLimit);
        }
        let (base, told_tx) = (root.to_owned(), tx.clone());
        let told = recursive.follow(arrivals, cookies, move |told| match told {
            Told::Watched(dir, coverage) => arrived(&told_tx, &base, dir, coverage),
            Told::Marked(number) => told_tx.send(FsEvent::Marked(number)),
        });
        told.map_err(notify::Error::io)?;
        Ok(Self { _watcher: Some(watcher), arrivals: Some(arrivals_tx), tx, rx })
    }
}

/// Whether the system allows no further watcher: of a user's (`fs.inotify.max_user_instances`) or of a process's open files.
fn is_exhausted(error: &notify::Error) -> bool {
    matches!(&error.kind, notify::ErrorKind::Io(error)
        if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()))
}

/// What it means that a directory came, and was watched.
fn arrived(tx: &Tx, base: &Path, dir: &Path, coverage: Result<Coverage, notify::Error>) {
    let Some(rel) = dir.strip_prefix(base).ok().and_then(relative) else { return };
    match coverage {
        // What was lost is everything.
        Ok(_) if rel.is_empty() => tx.send(FsEvent::Rescan),
        Ok(Coverage::All) => tx.send(FsEvent::Appeared(rel)),
        Ok(Coverage::Gone) => tx.send(FsEvent::Removed(rel)),
        Ok(Coverage::Full) => {
            tx.send(FsEvent::WatchLimit);
            tx.send(FsEvent::Appeared(rel));
        }
        Err(error) => tx.send(FsEvent::Failed(error.to_string())),
    }
}

/// Where the system's events come in.
struct Sink {
    base: PathBuf,
    ignore: Ignore,
    tx: Tx,
    /// Directories that came, or changed.
    arrivals: std_mpsc::Sender<Arrival>,
    cookie: InWatch,
    /// The first end of a rename, by the system's number for it.
    leaving: Option<(usize, String)>,
}

impl Sink {
    fn take(&mut self, event: notify::Result<Event>) {
        match event {
            Ok(event) => self.classify(&event),
            Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                self.tx.send(FsEvent::WatchLimit);
            }
            Err(error) => self.tx.send(FsEvent::Failed(error.to_string())),
        }
    }

    /// Tells what an event means.
    fn classify(&mut self, event: &Event) {
        if event.need_rescan() {
            // Directories may have come unseen: they are watched first. Nobody listens only at the end.
            let _ = self.arrivals.send(Arrival::Came(self.base.clone()));
            return;
        }
        let meaning: fn(String) -> FsEvent = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => FsEvent::Closed,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => FsEvent::Removed,
            // The pair's own event repeats what From and To have said.
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
            EventKind::Create(CreateKind::File) if ONE_BY_ONE => FsEvent::Created,
            EventKind::Modify(ModifyKind::Data(_)) if ONE_BY_ONE => FsEvent::Writing,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => FsEvent::Appeared,
            EventKind::Modify(_) | EventKind::Any | EventKind::Other => FsEvent::Changed,
        };
        for path in &event.paths {
            self.tell(event, path, meaning);
        }
    }

    /// Outside of the tree only the cookie is watched.
    fn elsewhere(&self, event: &Event, path: &Path) {
        if let (EventKind::Modify(ModifyKind::Data(_)), Some(number)) = (event.kind, self.cookie.number(path))
        {
            // Nobody listens only at the end.
            let _ = self.arrivals.send(Arrival::Cookie(number));
        }
    }

    fn tell(&mut self, event: &Event, path: &Path, meaning: fn(String) -> FsEvent) {
        // An event may tell of both ends of a rename, one of them elsewhere.
        let Ok(below) = path.strip_prefix(&self.base) else { return self.elsewhere(event, path) };
        // What is not UTF-8 can't be synced.
        let Some(rel) = relative(below) else { return };
        if !rel.is_empty() && (ksync_tree::is_temp(name(&rel)) || self.ignore.matches(&rel)) {
            // What is in a directory that is left out may be wanted.
            if ONE_BY_ONE && self.ignore.has_negation() && is_directory(path) {
                let _ = self.arrivals.send(Arrival::Came(path.to_owned()));
            }
            return;
        }
        let fs_event = meaning(rel);
        match &fs_event {
            FsEvent::Removed(rel) => self.leaving = event.tracker().map(|number| (number, rel.clone())),
            FsEvent::Created(rel) => match is_to_be_written(path) {
                // It is told of again: that it went.
                None => return,
                Some(true) => {}
                Some(false) => return self.tx.send(FsEvent::Appeared(rel.clone())),
            },
            FsEvent::Appeared(rel) => {
                let left = self.leaving.take().filter(|(number, _)| event.tracker() == Some(*number));
                let came = left.map(|(_, from)| FsEvent::Renamed { from, to: rel.clone() });
                let is_directory = ONE_BY_ONE && is_directory(path);
                // A directory that was moved as a whole is looked at at once with its old name, and again when it is watched.
                if !is_directory || came.is_some() {
                    self.tx.send(came.unwrap_or_else(|| fs_event.clone()));
                }
                if is_directory {
                    let _ = self.arrivals.send(Arrival::Came(path.to_owned()));
                }
                return;
            }
            // Maybe it may be read now.
            FsEvent::Changed(_) if ONE_BY_ONE && is_directory(path) => {
                self.tx.send(fs_event);
                let _ = self.arrivals.send(Arrival::Changed(path.to_owned()));
                return;
            }
            _ => {}
        }
        self.tx.send(fs_event);
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

    use super::{super::channel::channel, FsEvent, FsWatch, InWatch, Sink};

    fn watched(dir: &Path, patterns: &[&str]) -> FsWatch {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        FsWatch::start(dir, Ignore::with_defaults(&patterns).unwrap()).unwrap()
    }

    /// What is told until `last` is.
    async fn until(watch: &mut FsWatch, last: &FsEvent) -> Vec<FsEvent> {
        let mut told = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(5), watch.rx.recv());
            let (_, fs_event) = next.await.unwrap_or_else(|_| panic!("{last:?} after {told:?}")).unwrap();
            let over = fs_event == *last;
            told.push(fs_event);
            if over {
                return told;
            }
        }
    }

    /// Tells what was told so far.
    async fn so_far(dir: &Path, watch: &mut FsWatch) -> Vec<FsEvent> {
        unix::fs::symlink("nowhere", dir.join("end")).unwrap();
        let mut told = until(watch, &FsEvent::Appeared("end".into())).await;
        fs::remove_file(dir.join("end")).unwrap();
        until(watch, &FsEvent::Removed("end".into())).await;
        told.pop();
        told
    }

    fn moved(from: &str, to: &str) -> FsEvent {
        FsEvent::Renamed { from: from.into(), to: to.into() }
    }

    #[tokio::test]
    async fn without_a_watcher_the_limit_is_told_and_nothing_fails() {
        let dir = tempfile::tempdir().unwrap();
        let exhausted = || notify::Error::io(std::io::Error::from(rustix::io::Errno::MFILE));
        let start =
            |error: notify::Error| FsWatch::start_with(dir.path(), Ignore::none(), move |_| Err(error));
        let mut watch = start(exhausted()).unwrap();
        assert_eq!(watch.rx.recv().await.map(|(_, event)| event), Some(FsEvent::WatchLimit));
        let more = tokio::time::timeout(Duration::from_millis(50), watch.rx.recv()).await;
        assert!(more.is_err(), "it goes on: {more:?}");
        assert!(start(notify::Error::generic("else")).is_err());
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn each_kind_of_change_is_told_as_what_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut watch = watched(dir.path(), &[]);
        let (made, writing, written) = (FsEvent::Created, FsEvent::Writing, FsEvent::Closed);
        let (gone, came, changed) = (FsEvent::Removed, FsEvent::Appeared, FsEvent::Changed);
        let name = || "ü".to_owned();
        fs::write(at("ü"), "1").unwrap();
        assert_eq!(so_far(dir.path(), &mut watch).await, [made(name()), writing(name()), written(name())]);
        fs::set_permissions(at("ü"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(so_far(dir.path(), &mut watch).await, [changed(name())]);
        fs::rename(at("ü"), at("b")).unwrap();
        assert_eq!(so_far(dir.path(), &mut watch).await, [gone(name()), moved("ü", "b")]);
        fs::rename(at("b"), at("b~")).unwrap();
        assert_eq!(so_far(dir.path(), &mut watch).await, [gone("b".into())]);
        fs::rename(at("b~"), at("b")).unwrap();
        assert_eq!(so_far(dir.path(), &mut watch).await, [came("b".into())]);
        fs::hard_link(at("b"), at("c")).unwrap();
        assert_eq!(so_far(dir.path(), &mut watch).await, [came("c".into())]);
        fs::read(at("b")).unwrap();
        fs::write(at(".b.swp"), "").unwrap();
        assert_eq!(so_far(dir.path(), &mut watch).await, [], "reads, and what is left out");
        fs::write(dir.path().join::<&std::ffi::OsStr>(std::ffi::OsStr::from_bytes(b"a\xff")), "").unwrap();
        assert_eq!(so_far(dir.path(), &mut watch).await, [], "what can't be synced");
    }

    /// All at once, while the watches are being set.
    #[tokio::test]
    async fn nothing_is_lost_of_a_directory_that_is_made_and_filled_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = watched(dir.path(), &[]);
        for round in 0..20 {
            let all: BTreeSet<String> =
                (0..100).map(|n| format!("{round}/{}/{}/{n}", n % 7, n % 3)).collect();
            for path in &all {
                fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
                fs::write(dir.path().join(path), "").unwrap();
            }
            let mut missing = all.clone();
            while !missing.is_empty() {
                let next = tokio::time::timeout(Duration::from_secs(5), watch.rx.recv()).await;
                match next.unwrap_or_else(|_| panic!("{missing:?}")).unwrap().1 {
                    // All below it is looked at.
                    FsEvent::Appeared(top) => missing.retain(|path| !path.starts_with(&format!("{top}/"))),
                    FsEvent::Closed(path) => drop(missing.remove(&path)),
                    _ => {}
                }
            }
        }
        // And all of them are watched.
        for path in ["0/6/2/20", "19/1/1/1"] {
            fs::write(dir.path().join(path), "again").unwrap();
            until(&mut watch, &FsEvent::Closed(path.into())).await;
        }
    }

    #[tokio::test]
    async fn a_directory_that_was_moved_is_watched_under_its_new_name_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        let mut watch = watched(dir.path(), &[]);
        fs::rename(at("a"), at("z")).unwrap();
        until(&mut watch, &moved("a", "z")).await;
        until(&mut watch, &FsEvent::Appeared("z".into())).await;
        fs::write(at("z/b/c/f"), "").unwrap();
        let told = until(&mut watch, &FsEvent::Closed("z/b/c/f".into())).await;
        let old = |fs_event: &FsEvent| matches!(fs_event, FsEvent::Created(path) if path.starts_with("a/"));
        assert!(!told.iter().any(old), "{told:?}");
        // Out of the tree, and back.
        let outside = tempfile::tempdir_in(dir.path().parent().unwrap()).unwrap();
        fs::rename(at("z/b"), outside.path().join("b")).unwrap();
        until(&mut watch, &FsEvent::Removed("z/b".into())).await;
        // The watch goes when the system's thread finds nothing more to read, which may be after these events.
        let unwatched = async {
            loop {
                so_far(dir.path(), &mut watch).await;
                fs::write(outside.path().join("b/c/f"), "out").unwrap();
                let told = so_far(dir.path(), &mut watch).await;
                if !told.iter().any(|fs_event| matches!(fs_event, FsEvent::Closed(_))) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), unwatched)
            .await
            .expect("what was moved out is watched no more");
        fs::rename(outside.path().join("b"), at("b")).unwrap();
        until(&mut watch, &FsEvent::Appeared("b".into())).await;
        fs::write(at("b/c/f"), "in").unwrap();
        until(&mut watch, &FsEvent::Closed("b/c/f".into())).await;
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_directory_that_may_be_read_from_now_on_is_watched_from_now_on() {
        use std::os::unix::fs::PermissionsExt;
        ksync_skip::by_modes_alone(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let mode = |path: &str, mode| {
                fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
            };
            fs::create_dir_all(dir.path().join("a/closed/deep")).unwrap();
            mode("a/closed", 0);
            // Its names can be read, and nothing in it.
            fs::create_dir_all(dir.path().join("b/below/deep")).unwrap();
            mode("b", 0o400);
            let mut watch = runtime.block_on(async { watched(dir.path(), &[]) });
            for (opened, barred) in [("a/closed", "a/closed"), ("b", "b/below")] {
                mode(opened, 0o755);
                runtime.block_on(until(&mut watch, &FsEvent::Appeared(barred.into())));
                let file = format!("{barred}/deep/f");
                fs::write(dir.path().join(&file), "").unwrap();
                runtime.block_on(until(&mut watch, &FsEvent::Closed(file)));
            }
        });
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
    async fn a_mark_comes_after_all_that_changed_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = watched(dir.path(), &[]);
        for number in 0..200 {
            let (old, new) = (format!("d{number}/e/f"), format!("g{number}"));
            fs::create_dir_all(dir.path().join(&old).parent().unwrap()).unwrap();
            fs::write(dir.path().join(&old), "").unwrap();
            fs::write(dir.path().join(&new), "").unwrap();
            watch.mark(number);
            let told = until(&mut watch, &FsEvent::Marked(number)).await;
            for last in [FsEvent::Appeared(format!("d{number}")), FsEvent::Closed(new)] {
                assert!(told.contains(&last), "{last:?} is not among {told:?}");
            }
        }
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
        let mut watch = watched(dir.path(), &["/node_modules", "/late"]);
        assert_eq!(watches(), 703, "the root, src and what is in it, and the cookie");
        fs::create_dir_all(dir.path().join("late/a/b")).unwrap();
        fs::write(dir.path().join("node_modules/1/deep/f"), "").unwrap();
        fs::create_dir_all(dir.path().join("src/new/__pycache__/deep")).unwrap();
        until(&mut watch, &FsEvent::Appeared("src/new".into())).await;
        assert_eq!(so_far(dir.path(), &mut watch).await, []);
        assert_eq!(watches(), 704);
        // Something in it is wanted: then it is watched, because its directory has to be.
        drop(watch);
        let mut watch = watched(dir.path(), &["!/node_modules/7", "/node_modules"]);
        assert_eq!(watches(), 2110, "all of them");
        fs::write(dir.path().join("node_modules/7/f"), "").unwrap();
        fs::write(dir.path().join("node_modules/8/f"), "").unwrap();
        until(&mut watch, &FsEvent::Closed("node_modules/7/f".into())).await;
        assert_eq!(so_far(dir.path(), &mut watch).await, []);
    }

    #[tokio::test]
    async fn where_events_were_lost_directories_are_watched_before_everything_is_looked_at() {
        let (tx, mut rx) = channel(8, FsEvent::Rescan, FsEvent::is_found_by_a_look);
        let (arrivals, arrived) = std::sync::mpsc::channel();
        let base = Path::new("/w").to_owned();
        let mut sink = Sink {
            base: base.clone(),
            ignore: Ignore::none(),
            tx: tx.clone(),
            arrivals,
            cookie: InWatch::default(),
            leaving: None,
        };
        sink.take(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(rx.try_recv().is_none());
        assert_eq!(arrived.try_recv(), Ok(super::Arrival::Came(base.clone())));
        super::arrived(&tx, &base, &base, Ok(super::Coverage::All));
        assert_eq!(rx.try_recv().unwrap().1, FsEvent::Rescan);
        sink.take(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        assert_eq!(rx.try_recv().unwrap().1, FsEvent::WatchLimit);
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        sink.take(Ok(Event::new(to).add_path("/elsewhere".into())));
        assert!(rx.try_recv().is_none(), "the other end of a rename out of it");
    }
}
