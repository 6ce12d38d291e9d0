//! Endpoints over directories of this machine.

mod attacks;
mod guards;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use ksync_wire::{End, Open, Reply};
use tokio::sync::mpsc;

use super::{Ask, Endpoints, Replies, memory::Memory, open};
use crate::container::attachment::fake::attached;

/// An endpoint whose client reads one reply at a time; none where mounts can't be cloned.
async fn opened(
    endpoints: &Endpoints,
    dir: &Path,
) -> Option<(mpsc::Sender<Ask>, mpsc::Receiver<(u32, Reply)>)> {
    let attachment = attached("a", dir).await?;
    let (replies_tx, replies_rx) = mpsc::channel(1);
    let asked = Open { attachment: "a".into(), ignore: Vec::new(), inline: 1 << 20 };
    let replies = Replies { channel: 1, replies_tx };
    Some((open(endpoints.clone(), attachment, asked, replies), replies_rx))
}

/// All paths that are told of until `last` is.
async fn until(replies_rx: &mut mpsc::Receiver<(u32, Reply)>, last: &str) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let all = async {
        while !told.contains(last) {
            if let (_, Reply::News(news)) = replies_rx.recv().await.unwrap() {
                told.extend(news.iter().map(|news| news.path.to_string()));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    told
}

/// Waits until a reply waits for its client.
async fn waiting<T>(replies_rx: &mpsc::Receiver<T>) {
    let waits = async {
        while replies_rx.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.expect("a reply waits for its client");
}

#[tokio::test]
async fn a_client_that_is_slow_to_read_misses_nothing_and_holds_up_no_later_opening() {
    let (endpoints, dir) = (Endpoints::default(), tempfile::tempdir().unwrap());
    let Some((_requests_tx, mut replies_rx)) = opened(&endpoints, dir.path()).await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    assert!(matches!(replies_rx.recv().await, Some((1, Reply::Listed))));
    // Far more than may wait on the way, so that the endpoint waits for the client.
    let content = vec![b'x'; 100_000];
    let names: Vec<String> = (0..200).map(|number| format!("f{number:03}")).collect();
    for name in &names {
        fs::write(dir.path().join(name), &content).unwrap();
    }
    waiting(&replies_rx).await;
    fs::write(dir.path().join("last"), "x").unwrap();
    let told = until(&mut replies_rx, "last").await;
    assert!(names.iter().all(|name| told.contains(name)), "{} of {}", told.len(), names.len());

    // Once more, and nobody reads: a later opening does not wait for that.
    for name in &names {
        fs::write(dir.path().join(name), b"y").unwrap();
    }
    waiting(&replies_rx).await;
    let (_requests_tx, mut later_rx) = opened(&endpoints, dir.path()).await.unwrap();
    assert!(until(&mut later_rx, "last").await.len() > 200);
}

/// The attack: files without an end, so that radar is killed for its memory, with everybody's work.
#[tokio::test]
async fn a_directory_with_more_in_it_than_there_is_memory_for_ends_alone() {
    let endpoints = Endpoints::within(Memory::of_entries(100_000, 1_000_000));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("one"), "1").unwrap();
    let Some((_requests_tx, mut replies_rx)) = opened(&endpoints, dir.path()).await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    until(&mut replies_rx, "one").await;
    // Each in a directory of its own, and all in one.
    for number in 0..50 {
        fs::create_dir_all(dir.path().join(format!("d{number}/d"))).unwrap();
    }
    until(&mut replies_rx, "d49/d").await;
    for number in 0..500 {
        fs::write(dir.path().join(format!("d0/{number}")), "").unwrap();
    }
    let ended = async {
        loop {
            match replies_rx.recv().await.unwrap() {
                (_, Reply::Ended(ended)) => return ended,
                (_, Reply::News(_) | Reply::Listed | Reply::Missed(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert_eq!(ended.end, End::TooMuch);
    assert!(
        ended.reason.starts_with("what is in all directories of one key on this node takes"),
        "{ended:?}"
    );
    // It is refused from the beginning, and told nothing, and is taken again when there is less.
    let (_again_tx, mut again_rx) = opened(&endpoints, dir.path()).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(20), again_rx.recv()).await.unwrap().unwrap().1;
    assert!(matches!(&first, Reply::Ended(ended) if ended.end == End::TooMuch), "{first:?}");
    fs::remove_dir_all(dir.path().join("d0")).unwrap();
    let (_last_tx, mut last_rx) = opened(&endpoints, dir.path()).await.unwrap();
    until(&mut last_rx, "one").await;
}
