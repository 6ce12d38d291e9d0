//! Attacks by somebody who may connect and knows every name, of sessions, attachments and files, but has a key of his own.

use std::fs;

use ksync_proto::radar::{
    AttachReply, AttachRequest, BasePathRequest, Bytes, Container, DetachRequest, LookRequest, ReloadMode,
    ReloadRequest, SpoolRequest, VersionRequest,
};
use ksync_wire::End;
use tonic::{Code, Status};

use super::client::{Caller, Scene};
use crate::sync::{registry::Command, session::Hello};

fn container() -> Container {
    Container { id: format!("docker://{}", "a".repeat(64)), ..Container::default() }
}

/// What becomes of every call that is about `path` of attachment `a`, with the call's name.
async fn every_call(caller: &Caller, scene: &Scene, path: &str) -> Vec<(&'static str, Status)> {
    let mut radar = caller.radar.clone();
    let mode = ReloadMode::Process.into();
    let reload = ReloadRequest { attachment_id: "a".into(), mode, ..ReloadRequest::default() };
    let attach = AttachRequest {
        folder_id: "f".into(),
        container: Some(container()),
        path: "/x".into(),
        take_over: true,
    };
    let expected = scene.state(path).unwrap();
    vec![
        ("Read", caller.read(path, &expected).await.map(drop).unwrap_err()),
        ("Stage", caller.stage(1, "planted", b"text", usize::MAX).await.unwrap_err()),
        ("Reload", radar.reload(reload).await.map(drop).unwrap_err()),
        ("Attach", radar.attach(attach).await.map(drop::<tonic::Response<AttachReply>>).unwrap_err()),
        ("Look", {
            let look = LookRequest { container: Some(container()), path: "/x".into() };
            radar.look(look).await.map(drop).unwrap_err()
        }),
        (
            "BasePath",
            radar.base_path(BasePathRequest { container: Some(container()) }).await.map(drop).unwrap_err(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_session_is_told_the_version_and_nothing_else() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    fs::write(scene.at("secret"), "mine").unwrap();
    let mut mine = scene.me.stream().await.unwrap();
    mine.list(1).await;
    let other = scene.another().await;
    other.radar.clone().version(VersionRequest {}).await.unwrap();
    let said = format!("no session of key `{}` is open", other.person);
    let mut refused = every_call(&other, &scene, "secret").await;
    let Err(sync) = other.stream().await else { panic!("a stream without a session") };
    refused.push(("Sync", sync));
    let bep = other.radar.clone().bep(tokio_stream::once(Bytes::default())).await;
    refused.push(("Bep", bep.map(drop).unwrap_err()));
    let detach = DetachRequest { attachment_id: "a".into() };
    refused.push(("Detach", other.radar.clone().detach(detach).await.map(drop).unwrap_err()));
    let spool = SpoolRequest { tag: "1".into() };
    refused.push(("Spool", other.radar.clone().spool(spool).await.map(drop).unwrap_err()));
    for (call, refused) in refused {
        assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, &*said), "{call}");
    }
    assert!(scene.me.read("secret", &scene.state("secret").unwrap()).await.is_ok(), "whose it is goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_others_know_open_nothing_to_them() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    fs::write(scene.at("secret"), "mine").unwrap();
    let mut mine = scene.me.stream().await.unwrap();
    mine.list(1).await;
    let other = scene.another().await;
    let _events_rx = other.opens_a_session(&scene.registry).await;
    // As of an attachment that never was.
    let said = "attachment `a` is not held by this session: attach anew";
    for (call, refused) in every_call(&other, &scene, "secret").await.into_iter().take(3) {
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, said), "{call}");
    }
    let mut theirs = other.stream().await.unwrap();
    theirs.open(1).await;
    assert_eq!(theirs.end().await, End::Detached);
    // To detach what is not attached is no error, and does nothing.
    let detach = DetachRequest { attachment_id: "a".into() };
    other.radar.clone().detach(detach).await.unwrap();
    assert_eq!(scene.me.read("secret", &scene.state("secret").unwrap()).await.unwrap(), b"mine");
    assert!(!scene.at("planted").exists() && scene.temporaries().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_epoch_keeps_nobody_else_out() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let open = async |caller: &Caller, epoch| {
        let (events_tx, events_rx) = tokio::sync::mpsc::channel(8);
        let hello = Hello { person: caller.person, epoch, holder: "u@m".into(), fresh: false };
        scene.registry.ask(|reply| Command::Open(hello, events_tx, reply)).await.map(|()| events_rx)
    };
    let _theirs = open(&scene.another().await, u64::MAX).await.unwrap();
    open(&scene.me, 2).await.unwrap();
    assert!(scene.me.stream().await.is_ok());
}
