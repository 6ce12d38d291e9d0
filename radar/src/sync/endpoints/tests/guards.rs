//! Each guard alone against the accident: a container ends, or its directory is replaced, and what an endpoint then finds
//! would go to the laptop as the deletion of everything; or a job is written to where nobody wants it any more.
#![allow(unsafe_code)]

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command as Program},
    sync::Arc,
    time::Duration,
};

use ksync_tree::{Entry, Kind};
use ksync_wire::{Content, End, Open, Reply, Request};
use tokio::sync::mpsc;

use super::super::{
    Ask, Endpoints, Replies,
    checks::{Checks, RootLost},
    open as open_attachment,
};
use crate::{
    container::attachment::fake::attached_to,
    guards::{Guard, off},
};

/// How long a runtime takes from the end of a process to the removal of its files; at least this.
const RUNTIME: Duration = Duration::from_millis(100);
/// How long the accident is waited for.
const LONG_ENOUGH: Duration = Duration::from_secs(3);
const NAMES: [&str; 3] = ["a", "b", "c"];

struct Scene {
    dir: tempfile::TempDir,
    init: Child,
    requests_tx: mpsc::Sender<Ask>,
    replies_rx: mpsc::Receiver<(u32, Reply)>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // It may have been ended before.
        drop(self.init.kill());
        self.init.wait().unwrap();
    }
}

/// Everything in the directory goes.
fn empty(root: &Path) {
    for name in NAMES {
        fs::remove_file(root.join(name)).unwrap();
    }
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    /// A deletion was told, or a job done.
    Accident,
    /// It ended before that.
    Ended(End),
    /// Nothing, for long enough.
    Nothing,
}

impl Scene {
    /// An endpoint that has listed its directory; none where mounts can't be cloned.
    async fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("code");
        fs::create_dir(&root).unwrap();
        for name in NAMES {
            fs::write(root.join(name), name).unwrap();
        }
        let mut init = Program::new("sleep").arg("1000").spawn().unwrap();
        let Some(attachment) = attached_to("a", init.id(), &root).await else {
            init.kill().unwrap();
            init.wait().unwrap();
            return None;
        };
        let (replies_tx, replies_rx) = mpsc::channel(64);
        let open = Open { attachment: "a".into(), ignore: Vec::new(), inline: 0 };
        let replies = Replies { channel: 1, replies_tx };
        let requests_tx = open_attachment(Endpoints::default(), attachment, open, replies);
        let mut scene = Self { dir, init, requests_tx, replies_rx };
        while !matches!(scene.replies_rx.recv().await, Some((1, Reply::Listed))) {}
        Some(scene)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("code")
    }

    async fn container_ends(&mut self) {
        self.init.kill().unwrap();
        self.init.wait().unwrap();
        tokio::time::sleep(RUNTIME).await;
    }

    async fn comes(&mut self) -> Came {
        let came = async {
            loop {
                match self.replies_rx.recv().await.expect("an end is told").1 {
                    Reply::News(news) if news.iter().any(|news| news.state.is_none()) => {
                        return Came::Accident;
                    }
                    Reply::Applied { .. } => return Came::Accident,
                    Reply::Ended(ended) => return Came::Ended(ended.end),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LONG_ENOUGH, came).await.unwrap_or(Came::Nothing)
    }
}

const NOT_HERE: &str = "mounts can't be cloned here";

#[tokio::test]
async fn the_end_of_a_container_deletes_nothing_by_each_guard_alone() {
    let with = async |standing: &[Guard]| {
        let _off = off::all_but(standing);
        let mut scene = Scene::new().await?;
        scene.container_ends().await;
        empty(&scene.root());
        Some(scene.comes().await)
    };
    let Some(without) = with(&[]).await else { return ksync_skip::skipped(NOT_HERE) };
    assert_eq!(without, Came::Accident, "a test in which nothing can happen proves nothing");
    assert_eq!(with(&[Guard::Pidfd]).await, Some(Came::Ended(End::ContainerExited)));
    assert_eq!(with(&[Guard::RootCheck]).await, Some(Came::Ended(End::ContainerExited)));
}

/// A process that exits at a word, as far as the kernel has come with an init whose pid namespace is not empty yet: without a
/// root directory, and not yet ended for its pidfd.
struct Exiting {
    pid: i32,
    word: Option<UnixStream>,
}

impl Exiting {
    fn new() -> Self {
        let (word, mut heard) = UnixStream::pair().unwrap();
        // SAFETY: the child reads from a socket and starts one thread; libc's allocator can be used after a fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(word);
            std::io::Read::read_to_end(&mut heard, &mut Vec::new()).unwrap();
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
            // SAFETY: ends this thread alone, which no other one waits for.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            unreachable!("the thread has ended");
        }
        Self { pid, word: Some(word) }
    }

    fn exit(&mut self) {
        self.word = None;
        let root = ksync_procfs::root_path(self.pid);
        while fs::read_link(&root).is_ok() {
            std::thread::yield_now();
        }
    }
}

impl Drop for Exiting {
    fn drop(&mut self) {
        // SAFETY: the pid is of an own child that nobody else waits for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

#[tokio::test]
async fn a_container_on_its_way_out_has_ended_and_its_directory_was_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut init = Exiting::new();
    let Some(attachment) = attached_to("a", init.pid.try_into().unwrap(), dir.path()).await else {
        return ksync_skip::skipped(NOT_HERE);
    };
    let checks = Checks::of(&attachment);
    assert_eq!(checks.check(), Ok(()));
    init.exit();
    assert!(attachment.life.alive(), "its pidfd says that it has ended: the test shows nothing");
    assert_eq!(checks.check(), Err(RootLost::Exited));
}

#[tokio::test]
async fn a_directory_that_was_replaced_is_not_deleted_here() {
    let with = async |standing: &[Guard]| {
        let _off = off::all_but(standing);
        let mut scene = Scene::new().await?;
        let moved = scene.dir.path().join("moved");
        fs::rename(scene.root(), &moved).unwrap();
        fs::create_dir(scene.root()).unwrap();
        empty(&moved);
        Some(scene.comes().await)
    };
    let Some(without) = with(&[]).await else { return ksync_skip::skipped(NOT_HERE) };
    assert_eq!(without, Came::Accident);
    assert_eq!(with(&[Guard::RootCheck]).await, Some(Came::Ended(End::RootChanged)));
}

#[tokio::test]
async fn nothing_is_written_after_the_end_of_a_container_by_each_guard_alone() {
    let with = async |standing: &[Guard]| {
        let _off = off::all_but(standing);
        let mut scene = Scene::new().await?;
        scene.container_ends().await;
        let new = Entry {
            path: "new".into(),
            kind: Kind::File,
            size: 4,
            mtime_ns: 0,
            mode: 0o644,
            hash: Some(*blake3::hash(b"text").as_bytes()),
            target: None,
        };
        let content = Content::Whole(Arc::from(&b"text"[..]), new.hash);
        let (path, new) = (Arc::from("new"), Some(Arc::new(new)));
        // Its channel may have ended by now.
        drop(
            scene
                .requests_tx
                .send(Request::Job { number: 1, path, old: None, new, content, keep: false }.into())
                .await,
        );
        let came = scene.comes().await;
        Some((came == Came::Accident, scene.root().join("new").exists()))
    };
    let Some(without) = with(&[]).await else { return ksync_skip::skipped(NOT_HERE) };
    assert_eq!(without, (true, true));
    assert_eq!(with(&[Guard::Pidfd]).await, Some((false, false)));
    assert_eq!(with(&[Guard::RootCheck]).await, Some((false, false)));
}
