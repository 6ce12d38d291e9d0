//! Endpoints over directories of this machine.

mod attacks;
mod guards;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use ksync_wire::{Open, Reply, Request};
use tokio::sync::mpsc;

use super::{Endpoints, Replies, open};
use crate::container::attachment::fake::attached;

/// An endpoint whose client reads one reply at a time; none where mounts can't be cloned.
async fn opened(
    endpoints: &Endpoints,
    dir: &Path,
) -> Option<(mpsc::Sender<Request>, mpsc::Receiver<(u32, Reply)>)> {
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
