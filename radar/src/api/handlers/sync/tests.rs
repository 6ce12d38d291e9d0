//! The real handlers, over a loopback connection, with a directory of this machine as a container's.

mod attacks;
mod client;
mod floods;
mod spooled;

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use ksync_merge::{Outcome, State};
use ksync_proto::radar::DetachRequest;
use ksync_tree::{Entry, Kind};
use ksync_wire::{Content, End, Reply, Request};
use tonic::Code;

use client::Scene;

#[expect(clippy::unnecessary_wraps, reason = "a state, as a job has it")]
fn file(path: &str, content: &[u8]) -> State {
    Some(Arc::new(Entry {
        path: path.to_owned(),
        kind: Kind::File,
        size: content.len() as u64,
        mtime_ns: 1_700_000_000_000_000_000,
        mode: 0o640,
        hash: Some(*blake3::hash(content).as_bytes()),
        target: None,
    }))
}

fn whole(content: &[u8]) -> Content {
    Content::Whole(Arc::from(content), None)
}

fn done(reply: &Reply) -> State {
    match reply {
        Reply::Applied { outcome: Outcome::Done(state), error: None, .. } => state.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_comes_here_and_what_is_sent_lands_there() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    fs::create_dir(scene.at("d")).unwrap();
    fs::write(scene.at("d/b"), "b").unwrap();
    fs::write(scene.at("a"), "a").unwrap();
    fs::write(scene.at("x.log"), "left out").unwrap();
    fs::write(scene.at(".ksync.0001.tmp"), "unfinished").unwrap();
    let mut stream = scene.me.stream().await.unwrap();
    let listed = stream.list(1).await;
    let paths: Vec<&str> = listed.iter().map(|news| &*news.path).collect();
    assert_eq!(paths, ["a", "d", "d/b"]);
    assert!(listed.iter().all(|news| news.content.is_none()), "most of it is known already");
    assert_eq!(listed[0].state.as_ref().unwrap().hash, file("a", b"a").unwrap().hash);
    assert!(scene.temporaries().is_empty(), "swept");

    // The container's edits and deletions.
    fs::write(scene.at("d/new"), "from there").unwrap();
    let news = stream.news_of("d/new").await;
    assert_eq!(news.content.as_deref(), Some(&b"from there"[..]));
    fs::remove_file(scene.at("a")).unwrap();
    assert!(stream.news_of("a").await.state.is_none());

    // Ours.
    let reply = stream.job(1, "here", None, file("here", b"from here"), whole(b"from here")).await;
    let now = done(&reply);
    assert_eq!(fs::read(scene.at("here")).unwrap(), b"from here");
    assert_eq!(now.unwrap().mtime_ns, 1_700_000_000_000_000_000);
    // Something else stands there than is known.
    let stands = scene.state("d/b");
    let reply = stream.job(2, "d/b", file("d/b", b"?"), file("d/b", b"ours"), whole(b"ours")).await;
    let Reply::Applied { outcome: Outcome::Refused(now), .. } = reply else { panic!("{reply:?}") };
    assert_eq!(now.unwrap().hash, stands.unwrap().hash);
    assert_eq!(fs::read(scene.at("d/b")).unwrap(), b"b");
    // Another content than was announced is not written.
    let reply = stream.job(3, "wrong", None, file("wrong", b"announced"), whole(b"another")).await;
    assert!(matches!(reply, Reply::Applied { outcome: Outcome::Failed, error: Some(_), .. }), "{reply:?}");
    assert!(!scene.at("wrong").exists());
    // What was written for us is no news, and the mark comes after all that is.
    stream.send(1, Request::Mark(77)).await;
    loop {
        match stream.next().await.1 {
            Reply::Marked { number: 77, .. } => break,
            Reply::News(news) => assert!(news.iter().all(|news| &*news.path != "here"), "{news:?}"),
            Reply::Missed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Whoever writes and then asks is told of the write first, whatever lies unread in the kernel's queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_comes_after_all_that_was_written_before_it_was_asked_for() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let mut stream = scene.me.stream().await.unwrap();
    stream.list(1).await;
    for number in 0..200 {
        let (made, moved) = (format!("d{number}/e"), format!("d{number}/f"));
        fs::create_dir(scene.at(&format!("d{number}"))).unwrap();
        fs::write(scene.at(&made), number.to_string()).unwrap();
        fs::rename(scene.at(&made), scene.at(&moved)).unwrap();
        stream.send(1, Request::Mark(number)).await;
        let mut told = Vec::new();
        loop {
            match stream.next().await.1 {
                Reply::Marked { number: marked, .. } if marked == number => break,
                Reply::News(news) => told.extend(news.into_iter().map(|news| news.path.to_string())),
                Reply::Missed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(told.contains(&moved), "`{moved}` is not among {told:?}");
    }
    // Many at once are answered all, in order.
    for number in 1000..1300 {
        stream.send(1, Request::Mark(number)).await;
    }
    for number in 1000..1300 {
        loop {
            match stream.next().await.1 {
                Reply::Marked { number: marked, .. } => break assert_eq!(marked, number),
                Reply::News(_) | Reply::Missed(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_staged_and_read_back_and_one_that_breaks_off_leaves_nothing() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let mut stream = scene.me.stream().await.unwrap();
    stream.list(1).await;
    // Half of it can be compressed.
    let mut large: Vec<u8> =
        (0..20_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    large[5 << 20..15 << 20].fill(7);
    scene.me.stage(5, "large", &large, usize::MAX).await.unwrap();
    assert!(!scene.at("large").exists() && scene.temporaries().len() == 1);
    let reply = stream.job(5, "large", None, file("large", &large), Content::Staged).await;
    let now = done(&reply).unwrap();
    assert!(fs::read(scene.at("large")).unwrap() == large);
    assert!(scene.me.read("large", &now).await.unwrap() == large);
    // It is read only while it is what it was.
    fs::write(scene.at("large"), "changed").unwrap();
    assert_eq!(scene.me.read("large", &now).await.unwrap_err().code(), Code::Aborted);
    // A job without its staged content fails, and so does one that is for another path.
    let reply = stream.job(6, "other", None, file("other", &large), Content::Staged).await;
    assert!(matches!(reply, Reply::Applied { outcome: Outcome::Failed, .. }), "{reply:?}");
    scene.me.stage(7, "one", b"1", usize::MAX).await.unwrap();
    let reply = stream.job(7, "two", None, file("two", b"1"), Content::Staged).await;
    assert!(matches!(reply, Reply::Applied { outcome: Outcome::Failed, .. }), "{reply:?}");
    scene.me.stage(8, "broken", &large, 3).await.unwrap_err();
    assert!(gone(|| scene.temporaries().is_empty()).await, "{:?}", scene.temporaries());
    let reply = stream.job(8, "broken", None, file("broken", &large[..768 << 10]), Content::Staged).await;
    assert!(matches!(reply, Reply::Applied { outcome: Outcome::Failed, .. }), "{reply:?}");
    scene.me.stage(9, "waits", b"for a job that never comes", usize::MAX).await.unwrap();
    stream.send(1, Request::Close).await;
    assert_eq!(stream.end().await, End::Closed);
    assert!(gone(|| scene.temporaries().is_empty()).await, "{:?}", scene.temporaries());
}

/// Whether something becomes true within a few seconds.
async fn gone(now: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !now() && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    now()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_is_held_until_it_is_released_whatever_breaks() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    for path in ["a", "b"] {
        fs::write(scene.at(path), format!("old {path}")).unwrap();
    }
    let mut stream = scene.me.stream().await.unwrap();
    stream.list(1).await;
    let mut held = Vec::new();
    for (number, path) in [(1, "a"), (2, "b")] {
        let (old, new) = (scene.state(path), file(path, b"new"));
        let reply = stream.keeping_job(number, path, old, new, whole(b"new"), true).await;
        let Reply::Applied { held: Some(displaced), .. } = reply else { panic!("{reply:?}") };
        let file = stream.held().await;
        assert_eq!((file.number, file.path.as_str(), file.changed), (displaced, path, false));
        held.push(file);
    }
    let [a, b] = held.as_slice() else { panic!() };
    assert_eq!(scene.me.read(&a.at, &a.entry).await.unwrap(), b"old a");
    stream.send(1, Request::Release(a.number)).await;
    assert!(gone(|| !scene.at(&a.at).exists()).await);
    // The stream breaks before the other is in safety.
    drop(stream);
    let mut stream = scene.me.stream().await.unwrap();
    let listed = stream.list(1).await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    let file = stream.held().await;
    assert_eq!((file.path.as_str(), &file.at, &file.entry.hash), ("", &b.at, &b.entry.hash));
    assert_eq!(scene.me.read(&file.at, &file.entry).await.unwrap(), b"old b");
    stream.send(1, Request::Release(file.number)).await;
    assert!(gone(|| scene.temporaries().is_empty()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_container_is_not_the_deletion_of_its_files() {
    let Some(mut scene) = Scene::new().await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    for number in 0..20 {
        fs::write(scene.at(&format!("f{number}")), "text").unwrap();
    }
    let mut stream = scene.me.stream().await.unwrap();
    assert_eq!(stream.list(1).await.len(), 20);
    scene.end_container();
    for number in 0..20 {
        fs::remove_file(scene.at(&format!("f{number}"))).unwrap();
    }
    loop {
        match stream.next().await.1 {
            Reply::Ended(ended) => break assert_eq!(ended.end, End::ContainerExited),
            Reply::News(news) => assert!(news.iter().all(|news| news.state.is_some()), "{news:?}"),
            Reply::Missed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What its runtime removes as soon as it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_wrote_last_is_read_after_its_files_are_gone() {
    let Some(mut scene) = Scene::new().await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    let mut stream = scene.me.stream().await.unwrap();
    stream.list(1).await;
    let large = b"0123456789".repeat(100_000);
    fs::create_dir(scene.at("d")).unwrap();
    fs::write(scene.at("d/f"), &large).unwrap();
    let mut told = None;
    while told.is_none() {
        if let Reply::News(news) = stream.next().await.1 {
            let whole = |news: &&ksync_endpoint::News| {
                *news.path == *"d/f" && news.state.as_ref().is_some_and(|entry| entry.size == 1_000_000)
            };
            told = news.iter().find(whole).and_then(|news| news.state.clone());
        }
    }
    scene.end_container();
    while !matches!(stream.next().await.1, Reply::Ended(_)) {}
    fs::remove_dir_all(scene.at("d")).unwrap();
    let read = scene.me.read("d/f", &told.unwrap()).await.unwrap();
    assert!(read == large);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_openings_the_later_goes_on_until_it_is_detached() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    fs::write(scene.at("a"), "a").unwrap();
    let (mut first, mut second) = (scene.me.stream().await.unwrap(), scene.me.stream().await.unwrap());
    first.list(1).await;
    assert_eq!(second.list(4).await.len(), 1);
    assert_eq!(first.end().await, End::Closed);
    // Detached, it is nobody's any more.
    let detach = DetachRequest { attachment_id: "a".into() };
    scene.me.radar.clone().detach(detach).await.unwrap();
    assert_eq!(second.end().await, End::Detached);
}

/// Not a benchmark: it only says what it saw.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_job_goes_there_and_back_at_once() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let mut stream = scene.me.stream().await.unwrap();
    stream.list(1).await;
    let mut times = Vec::new();
    let mut old = None;
    for number in 1..=300_u64 {
        let content = format!("version {number}\n").repeat(50).into_bytes();
        let begun = Instant::now();
        let reply = stream.job(number, "f", old, file("f", &content), whole(&content)).await;
        times.push(begun.elapsed());
        old = done(&reply);
    }
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("a small job there and back: p50 {:?}, p90 {:?}, p99 {:?}", at(50), at(90), at(99));
    assert!(at(50) < Duration::from_millis(100), "no timer is waited for");
}
