//! Attack 3: a container swaps a directory for a symlink, and back, while its files are read and written.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ksync_tree::{Entry, Kind};
use ksync_wire::{Content, Open, Reply, Request};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::sync::mpsc;

use super::super::{Endpoints, Replies, open};
use crate::container::attachment::fake::attached;

const SECRET: &[u8] = b"another person's secret";
/// Jobs and reads of the endpoint.
const ROUNDS: u64 = 3000;
/// In which who takes no care is to be led astray.
const LIMIT: Duration = Duration::from_secs(60);

fn swap(a: &Path, b: &Path) {
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

/// Has somebody swap a directory for a symlink for as long as `work` goes on.
async fn while_swapping<T>(code: &Path, work: impl Future<Output = T>) -> T {
    let over = Arc::new(AtomicBool::new(false));
    let (stop, a, b) = (Arc::clone(&over), code.join("d"), code.join("link"));
    let swapping = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            swap(&a, &b);
        }
    });
    let done = work.await;
    over.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    done
}

/// A directory `d` beside a symlink to what is not the container's.
fn scene() -> (tempfile::TempDir, tempfile::TempDir) {
    let (code, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(code.path().join("d")).unwrap();
    fs::write(code.path().join("d/f"), "the container's own").unwrap();
    fs::write(outside.path().join("f"), SECRET).unwrap();
    symlink(outside.path(), code.path().join("link")).unwrap();
    (code, outside)
}

fn names(dir: &Path) -> Vec<String> {
    let all = fs::read_dir(dir).unwrap();
    all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn job(number: u64, path: &str) -> Request {
    let new = Entry {
        path: path.into(),
        kind: Kind::File,
        size: 4,
        mtime_ns: 0,
        mode: 0o644,
        hash: Some(*blake3::hash(b"text").as_bytes()),
        target: None,
    };
    let content = Content::Whole(Arc::from(&b"text"[..]), new.hash);
    Request::Job { number, path: Arc::from(path), old: None, new: Some(Arc::new(new)), content, keep: false }
}

/// That it is possible at all: by path, as a program that looks first and opens then.
#[tokio::test]
async fn who_opens_by_path_is_led_astray() {
    let (code, outside) = scene();
    let d = code.path().join("d");
    while_swapping(code.path(), async {
        let begun = Instant::now();
        let (mut read, mut number) = (false, 0);
        while !(read && names(outside.path()).len() > 1) {
            assert!(begun.elapsed() < LIMIT, "waited a minute for an accident");
            number += 1;
            if fs::symlink_metadata(&d).is_ok_and(|found| found.is_dir()) {
                read |= fs::read(d.join("f")).is_ok_and(|content| content == SECRET);
                fs::write(d.join(number.to_string()), "text").unwrap();
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_reads_and_writes_in_its_directory_alone() {
    let (code, outside) = scene();
    let Some(attachment) = attached("a", code.path()).await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    let (replies_tx, mut replies_rx) = mpsc::channel(64);
    let asked = Open { attachment: "a".into(), ignore: Vec::new(), inline: 1 << 20 };
    let requests_tx = open(Endpoints::default(), attachment, asked, Replies { channel: 1, replies_tx });
    let secret = *blake3::hash(SECRET).as_bytes();
    let asking = tokio::spawn(async move {
        for number in 1..=ROUNDS {
            requests_tx.send(job(number, &format!("d/{number}")).into()).await.unwrap();
        }
        requests_tx
    });
    let mut applied = 0;
    while_swapping(code.path(), async {
        while applied < ROUNDS {
            match replies_rx.recv().await.expect("an endpoint that goes on").1 {
                Reply::News(news) => {
                    for found in news {
                        let entry = found.state.as_deref();
                        assert!(entry.is_none_or(|entry| entry.hash != Some(secret)), "{}", found.path);
                    }
                }
                Reply::Applied { .. } => applied += 1,
                Reply::Ended(ended) => panic!("{ended:?}"),
                _ => {}
            }
        }
    })
    .await;
    drop(asking.await.unwrap());
    assert_eq!(names(outside.path()), ["f"]);
    assert_eq!(fs::read(outside.path().join("f")).unwrap(), SECRET);
    let inside = [code.path().join("d"), code.path().join("link")];
    let inside = inside.iter().find(|path| fs::symlink_metadata(path).unwrap().is_dir()).unwrap();
    assert!(names(inside).len() > 1, "some were written where they belong");
}
