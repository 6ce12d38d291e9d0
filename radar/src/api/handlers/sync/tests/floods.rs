//! Floods: one person opens all that can be opened, and sends nothing. Everybody else goes on, and the flood is told why it
//! does not.

use std::{fs, time::Duration};

use futures::{StreamExt as _, stream};
use ksync_proto::radar::{
    AttachRequest, LookRequest, ReloadRequest, SessionRequest, StageRequest, SyncRequest,
};
use ksync_wire::{Content, Request, RequestEncoder};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::client::{Caller, Scene};

/// How long a call of somebody else may take meanwhile, on a machine that is busy.
const SOON: Duration = Duration::from_secs(5);

/// A large file that never comes.
async fn stalled(caller: Caller, number: u64) -> Status {
    let head = StageRequest {
        attachment_id: "a".into(),
        number,
        path: format!("stalled-{number}"),
        ..StageRequest::default()
    };
    let requests = stream::iter([head]).chain(stream::pending());
    caller.radar.clone().stage(requests).await.map(drop).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_files_that_never_come_hold_nobody_up() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    fs::write(scene.at("a"), "a").unwrap();
    let mut mine = scene.me.stream().await.unwrap();
    mine.list(1).await;
    let mut flood = JoinSet::new();
    for _ in 0..4 {
        let caller = scene.me_again().await;
        for number in 0..150 {
            flood.spawn(stalled(caller.clone(), number));
        }
    }
    // As many as are allowed stand; each further one is told so.
    for _ in 0..200 {
        let refused =
            tokio::time::timeout(SOON, flood.join_next()).await.expect("an answer").unwrap().unwrap();
        assert_eq!(
            (refused.code(), refused.message()),
            (
                Code::ResourceExhausted,
                "more than 400 large files on their way to containers of one key at once"
            )
        );
    }
    // What takes a thread goes on, other people's and one's own.
    let expected = scene.state("a").unwrap();
    let read = tokio::time::timeout(SOON, scene.me.read("a", &expected)).await;
    assert_eq!(read.expect("a thread").unwrap(), b"a");
    drop(flood);
    let stands = tokio::time::timeout(SOON, async {
        while !scene.temporaries().is_empty() {
            tokio::task::yield_now().await;
        }
    });
    assert!(stands.await.is_ok(), "what was given up is gone: {:?}", scene.temporaries());
}

#[test]
fn threads_that_hang_keep_no_directory_from_being_opened() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let Some(scene) = Scene::new().await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        fs::write(scene.at("a"), "a").unwrap();
        let (go_on_tx, go_on_rx) = std::sync::mpsc::channel::<()>();
        let hanging = tokio::task::spawn_blocking(move || go_on_rx.recv());
        let mut mine = scene.me.stream().await.unwrap();
        let listed = tokio::time::timeout(SOON, mine.list(1)).await;
        drop(go_on_tx);
        hanging.await.unwrap().unwrap_err();
        assert_eq!(listed.expect("a thread").len(), 1);
    });
}

/// Before whose they are is looked at, messages are in radar's memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_no_larger_than_its_call_needs() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let other = scene.another().await;
    let mut radar = other.radar.clone();
    let large = "a".repeat(64 << 10);
    let path = large.clone();
    let session = SessionRequest { user: large.clone(), ..SessionRequest::default() };
    let stage = StageRequest { data: vec![0; 2 << 20].into(), ..StageRequest::default() };
    let refused = [
        radar.look(LookRequest { path: path.clone(), ..LookRequest::default() }).await.map(drop),
        radar.attach(AttachRequest { path, ..AttachRequest::default() }).await.map(drop),
        radar.reload(ReloadRequest { signal: large, ..ReloadRequest::default() }).await.map(drop),
        radar.session(stream::iter([session])).await.map(drop),
    ];
    for refused in refused {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
        assert!(refused.message().ends_with("the limit is: 16384 bytes"), "{refused}");
    }
    // Without a session nothing of a file is read at all.
    let refused = radar.stage(stream::iter([stage.clone()])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let refused = scene.me.radar.clone().stage(stream::iter([stage])).await.unwrap_err();
    assert!(refused.message().ends_with("the limit is: 327680 bytes"), "{refused}");
}

/// The attack: 60 MB of paths, to be removed, in one message, as they are or packed.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_paths_without_an_end_is_refused() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let removal = |number: u64| Request::Job {
        number,
        path: "d/".repeat(450).into(),
        old: None,
        new: None,
        content: Content::None,
        keep: false,
    };
    let packed = RequestEncoder::default().encode((0..60_000).map(|number| (1, removal(number))));
    assert!(packed.asks.is_empty() && packed.packed.len() < 1 << 20, "{}", packed.packed.len());
    let mut plain = SyncRequest::default();
    for number in 0..60_000 {
        plain.asks.extend(RequestEncoder::default().encode([(1, removal(number))]).asks);
    }
    for (message, why) in
        [(packed, "more in it than a message may have"), (plain, "the limit is: 1048576 bytes")]
    {
        let requests = stream::iter([message]).chain(stream::pending());
        let mut replies = scene.me.radar.clone().sync(requests).await.unwrap().into_inner();
        let refused = tokio::time::timeout(SOON, replies.message()).await.expect("an answer").unwrap_err();
        assert!(refused.message().ends_with(why), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_streams_of_one_key_are_counted_together() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(scene.me.stream().await.unwrap());
    }
    let again = scene.me_again().await;
    let Err(refused) = again.stream().await else { panic!("one more stream") };
    assert_eq!(refused.message(), "more than 8 streams of syncs of one key at once");
    streams.pop();
    let mut connections = vec![again];
    while connections.len() < 15 {
        connections.push(scene.me_again().await);
    }
    let look = |caller: &Caller| {
        let mut radar = caller.radar.clone();
        async move { radar.look(LookRequest::default()).await.unwrap_err() }
    };
    assert_eq!(look(&connections[14]).await.code(), Code::InvalidArgument);
    let one_more = scene.me_again().await;
    assert_eq!(look(&one_more).await.message(), "more than 16 connections of one key at once");
    // The next one is none too many when one is gone.
    drop((connections.pop(), one_more));
    let mut other = scene.another().await;
    assert_eq!(look(&other).await.code(), Code::FailedPrecondition, "somebody else without a session");
    let freed = tokio::time::timeout(SOON, async {
        loop {
            other = scene.me_again().await;
            if look(&other).await.code() == Code::InvalidArgument {
                break;
            }
        }
    });
    assert!(freed.await.is_ok());
}
