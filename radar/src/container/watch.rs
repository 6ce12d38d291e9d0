//! Changes below an attached directory as the kernel reports them, by inotify(7).
//!
//! Invariant: every change after [`Watch::start`] returned leads to a [`Change`] that covers it. A directory is
//! watched before its names are read, an overflow of the queue becomes [`Change::All`]. [`Change::Drained`] comes after the
//! changes that cover all that had happened when it was asked for.

use std::{
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::LazyLock,
    time::{Duration, Instant},
};

use ksync_procfs::InotifyMark;
use ksync_tree::Root;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify,
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use tokio::sync::mpsc::Sender;

mod change;
mod drain;
mod error;
mod tree;

pub(crate) use change::{Change, Idle};
pub(crate) use error::Error;

use change::InotifyEvent;
use drain::{AT_ONCE, Drain};
use error::kernel;
use tree::Tree;

/// Changes that may wait for their endpoint. With more of them the thread waits, the kernel's queue overflows, and all
/// is scanned.
pub(crate) const BACKLOG: usize = 65_536;
/// How often everything is scanned where the kernel's limit of watches was reached.
const UNWATCHED_EVERY: Duration = Duration::from_secs(10);

/// A running watch; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Closing it ends the thread; a byte asks for [`Change::Drained`].
    control: OwnedFd,
}

impl Watch {
    /// Watches all directories below `root` but those at `excluded` and those that are `idle`, up to `most`. Blocks for as
    /// long as reading all directories takes. inotify --changes--> an endpoint.
    pub(crate) fn start(
        root: Root,
        excluded: Vec<String>,
        idle: Idle,
        most: usize,
        changes_tx: Sender<Change>,
    ) -> Result<Self, Error> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        match inotify::init(flags) {
            Ok(inotify) => {
                let mut tree = Tree::new(inotify, root, excluded, idle, most);
                tree.add("")?;
                Self::spawn(move |control| run(tree, control, &changes_tx))
            }
            // `fs.inotify.max_user_instances`: on a node, root's share is others' too. As with directories beyond the limit.
            Err(Errno::MFILE) => {
                tracing::warn!(
                    "no more inotify queues than fs.inotify.max_user_instances: nothing is watched"
                );
                Self::spawn(move |control| unwatched(control, UNWATCHED_EVERY, &changes_tx))
            }
            Err(errno) => Err(kernel("make a queue", "")(errno)),
        }
    }

    fn spawn(work: impl FnOnce(&OwnedFd) + Send + 'static) -> Result<Self, Error> {
        let (control_rx, control) = pipe_with(PipeFlags::CLOEXEC).map_err(kernel("make a pipe", ""))?;
        std::thread::Builder::new()
            .name("ksync-inotify".to_owned())
            .spawn(move || work(&control_rx))
            .map_err(|source| Error::Kernel { operation: "start a thread", path: ".".to_owned(), source })?;
        Ok(Self { control })
    }

    /// Has [`Change::Drained`] told, once, after the changes that cover all that has happened by now: the kernel's queue has
    /// an event before the call that it tells of returns. A file that is being written, or was removed, is waited for as
    /// usual. Not to be asked again before that was told. Where the kernel watches only some directories, what happened in
    /// the others is not covered.
    ///
    /// # Errors
    /// The thread has ended.
    pub(crate) fn drain(&self) -> Result<(), Error> {
        rustix::io::write(&self.control, &[0]).map(drop).map_err(kernel("ask the thread", ""))
    }
}

/// In place of a watch: everything is scanned now and then.
fn unwatched(control: &OwnedFd, every: Duration, changes_tx: &Sender<Change>) {
    let (mut change, mut next_whole) = (Change::Limited, Instant::now() + every);
    while changes_tx.blocking_send(change).is_ok() {
        change = match wait(&[control], Some(next_whole)) {
            Ok(woken) if woken.is_empty() => {
                next_whole = Instant::now() + every;
                Change::All
            }
            Ok(_) => match asked(control) {
                Ok(true) => Change::Drained,
                Ok(false) => return,
                Err(errno) => return broken(changes_tx, "asked for", errno),
            },
            Err(errno) => return broken(changes_tx, "waited for", errno),
        }
    }
}

/// What came through the pipe: whether the queue is to be drained, or false where the watch has ended.
fn asked(control: &OwnedFd) -> Result<bool, Errno> {
    match rustix::io::read(control, &mut [0; 1]) {
        Ok(bytes) => Ok(bytes > 0),
        Err(Errno::INTR) => asked(control),
        Err(errno) => Err(errno),
    }
}

/// How many events the kernel's queue holds at most.
static QUEUE: LazyLock<usize> = LazyLock::new(|| {
    let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    // The kernel's own, where it does not say.
    most.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(16_384)
});

/// How the kernel itself names the directories below `root` in proc_pid_fdinfo(5), up to `most` of them: what stat(2)
/// gives for an inode on an overlay or a btrfs need not be that. Watches them for a moment to learn it.
pub(crate) fn marks(
    root: Root,
    excluded: Vec<String>,
    idle: Idle,
    most: usize,
) -> Result<Vec<InotifyMark>, Error> {
    let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
    let inotify = inotify::init(flags).map_err(kernel("make a queue", ""))?;
    let mut tree = Tree::new(inotify, root, excluded, idle, most);
    tree.add("")?;
    let marks = ksync_procfs::own_inotify_marks(tree.queue());
    marks.map_err(|error| Error::Kernel { operation: "read", path: error.path, source: error.source })
}

fn run(mut tree: Tree, control: &OwnedFd, changes_tx: &Sender<Change>) {
    let (mut limited, mut drain) = (false, Drain::default());
    let mut next_whole = Instant::now() + UNWATCHED_EVERY;
    loop {
        let now = Instant::now();
        let mut changes = tree.due(now);
        if tree.limited() {
            if !std::mem::replace(&mut limited, true) {
                changes.push(Change::Limited);
            }
            if now >= next_whole {
                next_whole = now + UNWATCHED_EVERY;
                changes.push(Change::All);
            }
        }
        if drain.is_over(now) {
            changes.push(Change::Drained);
        }
        let until = limited.then_some(next_whole).into_iter().chain(tree.next_due()).chain(drain.due()).min();
        for change in changes {
            if changes_tx.blocking_send(change).is_err() {
                return;
            }
        }
        match wait(&[tree.queue(), control], until).as_deref() {
            Ok([]) => continue,
            Ok([.., 1]) => match asked(control) {
                Ok(true) => drain = Drain::Reads(*QUEUE),
                Ok(false) => return,
                Err(errno) => return broken(changes_tx, "asked for", errno),
            },
            Ok(_) => {}
            Err(errno) => return broken(changes_tx, "waited for", *errno),
        }
        match read(&mut tree) {
            Ok((changes, events)) => {
                drain.read(events, tree.last_due());
                for change in changes {
                    if changes_tx.blocking_send(change).is_err() {
                        return;
                    }
                }
            }
            Err(errno) => return broken(changes_tx, "read", errno),
        }
    }
}

fn broken(changes_tx: &Sender<Change>, what: &str, errno: Errno) {
    let reason = format!("file system events can't be {what} any more: {errno}");
    tracing::error!(reason);
    // Whoever listened may have ended before.
    drop(changes_tx.blocking_send(Change::Broken(reason)));
}

/// How many directories of one attachment may be watched: an eighth of what the kernel allows a user, because on a node
/// root's share is kubelet's and the system's too.
pub(crate) fn share() -> usize {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    share_of_limit(limit.ok().as_deref())
}

fn share_of_limit(limit: Option<&str>) -> usize {
    // The kernel's own least, where it does not say.
    limit.and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(8192).div_ceil(8)
}

/// Waits until one of `fds` has something to read, or `until`; returns the numbers of those that have.
fn wait(fds: &[&OwnedFd], until: Option<Instant>) -> Result<Vec<usize>, Errno> {
    let timeout = until.map(|until| {
        let left = until.saturating_duration_since(Instant::now());
        // Never round down to a busy loop.
        let left = left + Duration::from_micros(100);
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
    match poll(&mut polled, timeout.as_ref()) {
        Ok(0) | Err(Errno::INTR) => Ok(Vec::new()),
        Ok(_) => Ok((0..fds.len()).filter(|&n| !polled[n].revents().is_empty()).collect()),
        Err(errno) => Err(errno),
    }
}

/// What is in the queue now, up to [`AT_ONCE`] events; with how many they were. Fewer were all.
fn read(tree: &mut Tree) -> Result<(Vec<Change>, usize), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut seen = Vec::new();
    let queue = rustix::io::dup(tree.queue())?;
    let mut reader = inotify::Reader::new(&queue, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) => seen.push(InotifyEvent {
                watch: event.wd(),
                what: event.events(),
                // A name that is not UTF-8 is not synced.
                name: event.file_name().map(|name| name.to_str().map(str::to_owned).unwrap_or_default()),
            }),
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if seen.len() >= AT_ONCE {
            break;
        }
    }
    let (now, events) = (Instant::now(), seen.len());
    let mut changes = Vec::new();
    for event in seen {
        for change in tree.take(&event, now) {
            if changes.last() != Some(&change) {
                changes.push(change);
            }
        }
    }
    Ok((changes, events))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path, time::Duration};

    use ksync_tree::Root;
    use tokio::sync::mpsc::{Receiver, channel};

    use rustix::pipe::pipe;

    use super::{BACKLOG, Change, Watch, broken, share_of_limit, unwatched};

    fn watch(dir: &Path, excluded: &[&str]) -> (Watch, Receiver<Change>) {
        let (tx, rx) = channel(BACKLOG);
        let excluded = excluded.iter().map(|e| (*e).to_owned()).collect();
        let idle = Box::new(|path: &str| path.ends_with("idle") || path.contains(".syncthing."));
        (Watch::start(Root::open(dir).unwrap(), excluded, idle, 1000, tx).unwrap(), rx)
    }

    /// Collects until `last` is reported, and returns what came before it.
    async fn until(rx: &mut Receiver<Change>, last: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        loop {
            let change = tokio::time::timeout(Duration::from_secs(5), rx.recv()).await.unwrap().unwrap();
            match change {
                Change::Path(path) | Change::Directory(path) if path == last => return seen,
                Change::Path(path) | Change::Directory(path) => drop(seen.insert(path)),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Collects until the watch is drained, and returns what came before that.
    async fn drained(watch: &Watch, rx: &mut Receiver<Change>) -> Vec<Change> {
        watch.drain().unwrap();
        let mut seen = Vec::new();
        loop {
            match tokio::time::timeout(Duration::from_secs(5), rx.recv()).await.unwrap().unwrap() {
                Change::Drained => return seen,
                change => seen.push(change),
            }
        }
    }

    #[tokio::test]
    async fn what_happened_before_it_was_drained_is_told_before_that() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let (watch, mut rx) = watch(dir.path(), &[]);
        assert_eq!(drained(&watch, &mut rx).await, []);
        for number in 0..100 {
            let name = format!("f{number}");
            fs::write(dir.path().join(&name), "x").unwrap();
            assert!(drained(&watch, &mut rx).await.contains(&Change::Path(name)), "{number}");
        }
        // What waits for the file that comes in its place, or for its writer.
        let mut log = fs::File::create(dir.path().join("log")).unwrap();
        for path in ["f1", "log"] {
            drop(fs::remove_file(dir.path().join("f1")));
            log.write_all(b"line").unwrap();
            let told = drained(&watch, &mut rx).await;
            assert!(told.contains(&Change::Path(path.into())), "{path}: {told:?}");
        }
    }

    #[tokio::test]
    async fn without_a_queue_everything_is_scanned_now_and_then_until_it_ends() {
        let (tx, mut rx) = channel(BACKLOG);
        let (stop_rx, stop) = pipe().unwrap();
        let watching = std::thread::spawn(move || unwatched(&stop_rx, Duration::from_millis(20), &tx));
        for change in [Change::Limited, Change::All, Change::All] {
            assert_eq!(rx.recv().await, Some(change));
        }
        let watch = Watch { control: stop };
        watch.drain().unwrap();
        while rx.recv().await.unwrap() != Change::Drained {}
        drop(watch);
        watching.join().unwrap();
    }

    #[tokio::test]
    async fn a_write_is_reported_when_the_file_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (_watch, mut rx) = watch(dir.path(), &[]);
        fs::write(dir.path().join("a"), "1").unwrap();
        assert!(until(&mut rx, "a").await.is_empty());
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert!(until(&mut rx, "b").await.contains("a"));
        fs::remove_file(dir.path().join("b")).unwrap();
        until(&mut rx, "b").await;
        symlink("nowhere", dir.path().join("l")).unwrap();
        until(&mut rx, "l").await;
    }

    #[tokio::test]
    async fn a_tree_that_appears_is_watched_to_its_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let (_watch, mut rx) = watch(dir.path(), &[]);
        for path in ["x", "x/y", "x/y/z"] {
            fs::create_dir(dir.path().join(path)).unwrap();
            until(&mut rx, path).await;
        }
        fs::write(dir.path().join("x/y/z/f"), "1").unwrap();
        until(&mut rx, "x/y/z/f").await;
        // All at once: the last that is reported covers what came before the watch, and the rest is seen by it.
        fs::create_dir_all(dir.path().join("p/q")).unwrap();
        fs::write(dir.path().join("p/q/f"), "1").unwrap();
        loop {
            match rx.recv().await.unwrap() {
                Change::Path(path) if path == "p/q/f" => break,
                Change::Directory(path) if path == "p" || path == "p/q" => {}
                other => panic!("{other:?}"),
            }
        }
        fs::rename(dir.path().join("x/y"), dir.path().join("moved")).unwrap();
        until(&mut rx, "moved").await;
        fs::write(dir.path().join("moved/z/g"), "1").unwrap();
        until(&mut rx, "moved/z/g").await;
    }

    /// A container may have a syncthing of its own.
    #[tokio::test]
    async fn temporaries_are_not_reported_and_what_becomes_of_them_is() {
        let dir = tempfile::tempdir().unwrap();
        let (_watch, mut rx) = watch(dir.path(), &[]);
        for temp in [".syncthing.a.tmp", ".ksync.was-1.tmp"] {
            fs::write(dir.path().join(temp), "new").unwrap();
            fs::rename(dir.path().join(temp), dir.path().join("a")).unwrap();
            assert!(until(&mut rx, "a").await.is_empty());
        }
    }

    #[tokio::test]
    async fn what_is_excluded_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("volume/deep")).unwrap();
        let (_watch, mut rx) = watch(dir.path(), &["volume"]);
        fs::write(dir.path().join("volume/deep/f"), "").unwrap();
        fs::write(dir.path().join("volume/f"), "").unwrap();
        fs::write(dir.path().join("end"), "").unwrap();
        assert!(until(&mut rx, "end").await.is_empty());
    }

    #[tokio::test]
    async fn what_is_ignored_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("idle/deep")).unwrap();
        let (_watch, mut rx) = watch(dir.path(), &[]);
        fs::write(dir.path().join("idle/deep/f"), "").unwrap();
        fs::create_dir_all(dir.path().join("late-idle/deep")).unwrap();
        fs::write(dir.path().join("end"), "").unwrap();
        assert!(until(&mut rx, "end").await.is_empty());
    }

    #[tokio::test]
    async fn beyond_its_share_of_watches_a_folder_is_limited() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        let (tx, mut rx) = channel(BACKLOG);
        let root = Root::open(dir.path()).unwrap();
        let _watch = Watch::start(root, Vec::new(), Box::new(|_| false), 3, tx).unwrap();
        assert_eq!(rx.recv().await, Some(Change::Limited));
        assert_eq!((share_of_limit(Some("65536\n")), share_of_limit(None)), (8192, 1024));
    }

    /// Waits until a channel with room for one change has one: the thread waits with those after it.
    async fn full(rx: &Receiver<Change>) {
        let full = async {
            while rx.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), full).await.expect("a change waits in the channel");
    }

    #[tokio::test]
    async fn a_scanner_that_falls_behind_misses_nothing_and_keeps_no_thread() {
        let dir = tempfile::tempdir().unwrap();
        let (tx, mut rx) = channel(1);
        let root = Root::open(dir.path()).unwrap();
        let watch = Watch::start(root, Vec::new(), Box::new(|_| false), 1000, tx).unwrap();
        let names = (0..100).map(|n| format!("f{n:02}"));
        for name in names.clone().chain(["last".to_owned()]) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        full(&rx).await;
        assert_eq!(until(&mut rx, "last").await, names.collect());
        for name in ["again", "once more", "and again"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        full(&rx).await;
        drop(watch);
        // The sender is the thread's, and is gone with it.
        let drained = async { while rx.recv().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(5), drained).await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_events_is_told() {
        let (tx, mut rx) = channel(BACKLOG);
        let told = tokio::task::spawn_blocking(move || broken(&tx, "read", rustix::io::Errno::BADF));
        told.await.unwrap();
        let Some(Change::Broken(reason)) = rx.recv().await else { panic!() };
        assert!(reason.starts_with("file system events can't be read any more: "), "{reason}");
    }

    #[tokio::test]
    async fn a_file_that_stays_open_is_reported_all_the_same() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let (_watch, mut rx) = watch(dir.path(), &[]);
        let mut file = fs::File::create(dir.path().join("log")).unwrap();
        file.write_all(b"line").unwrap();
        until(&mut rx, "log").await;
        file.write_all(b"line").unwrap();
        until(&mut rx, "log").await;
    }

    #[tokio::test]
    async fn a_symlink_is_never_followed() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        let (_watch, mut rx) = watch(dir.path(), &[]);
        fs::write(outside.path().join("secret"), "").unwrap();
        fs::write(dir.path().join("end"), "").unwrap();
        assert!(until(&mut rx, "end").await.is_empty());
    }
}
