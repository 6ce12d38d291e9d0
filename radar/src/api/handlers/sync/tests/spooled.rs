//! Large files through a person's spool. What syncthing would bring is put there by the test.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use ksync_proto::radar::{ReadRequest, SpoolRequest, StageReply, StageRequest, VersionRequest};
use ksync_wire::Content;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};
use tonic::{Code, Status};

use super::{Scene, done, file};
use crate::supervisor::session_syncthing::SessionSyncthing;

fn name(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

impl Scene {
    /// The directory into which syncthing would bring files.
    fn inbox(&self) -> PathBuf {
        self.spools.open(self.me.person, "1").unwrap();
        let sessions = self.dir.path().with_extension("sessions");
        let only = |dir: PathBuf| fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
        only(only(sessions).join("spool")).join("in")
    }

    async fn stage_spooled(
        &self,
        number: u64,
        path: &str,
        hash: &[u8],
        size: usize,
    ) -> Result<StageReply, Status> {
        let head = StageRequest {
            attachment_id: "a".into(),
            number,
            path: path.into(),
            spooled: hash.to_vec(),
            size: size as u64,
            ..StageRequest::default()
        };
        Ok(self.me.radar.clone().stage(futures::stream::iter([head])).await?.into_inner())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_through_the_spool_is_staged_where_it_is_what_it_should_be() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let mut stream = scene.me.stream().await.unwrap();
    stream.list(1).await;
    let large = b"0123456789".repeat(100_000);
    let hash = *blake3::hash(&large).as_bytes();
    let reply = scene.stage_spooled(1, "f", &hash, large.len()).await.unwrap();
    assert_eq!(reply.not_spooled, "there is no spool for this key");
    let inbox = scene.inbox();
    fs::write(inbox.join(name(&large)), &large).unwrap();
    assert_eq!(scene.stage_spooled(2, "f", &hash, large.len()).await.unwrap().not_spooled, "");
    done(&stream.job(2, "f", None, file("f", &large), Content::Staged).await);
    assert!(fs::read(scene.at("f")).unwrap() == large);
    // The client's syncthing may bring anything, under any name.
    let other = [0; 32];
    fs::write(inbox.join(blake3::Hash::from_bytes(other).to_hex().as_str()), &large).unwrap();
    let reply = scene.stage_spooled(3, "f", &other, large.len()).await.unwrap();
    assert!(reply.not_spooled.ends_with("has another content"), "{}", reply.not_spooled);
    fs::remove_file(inbox.join(name(&large))).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", inbox.join(name(&large))).unwrap();
    let reply = scene.stage_spooled(4, "f", &hash, large.len()).await.unwrap();
    assert!(reply.not_spooled.contains("open `"), "{}", reply.not_spooled);
    for bad in [&b"../../etc/passwd"[..], b"x"] {
        let refused = scene.stage_spooled(5, "f", bad, 1).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    assert!(scene.temporaries().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_spool_does_not_take_comes_by_messages() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let large = b"0123456789".repeat(100_000);
    fs::write(scene.at("f"), &large).unwrap();
    let mut stream = scene.me.stream().await.unwrap();
    stream.list(1).await;
    scene.inbox();
    let request = ReadRequest {
        attachment_id: "a".into(),
        path: "f".into(),
        expected: Some(ksync_wire::entry(&file("f", &large).unwrap())),
        spool: true,
    };
    // There is no syncthing to offer it.
    let mut replies = scene.me.radar.clone().read(request).await.unwrap().into_inner();
    let mut bytes = 0;
    while let Some(reply) = replies.message().await.unwrap() {
        assert!(!reply.spooled);
        bytes += if reply.packed {
            ksync_wire::unpack(&reply.data, 1 << 20).unwrap().len()
        } else {
            reply.data.len()
        };
    }
    assert_eq!(bytes, large.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_is_made_for_a_session_that_is_open_and_under_a_plain_name() {
    let Some(scene) = Scene::new().await else { return ksync_skip::skipped("mounts can't be cloned here") };
    let other = scene.another().await;
    for (caller, tag, code) in
        [(&scene.me, "..", Code::InvalidArgument), (&other, "1", Code::FailedPrecondition)]
    {
        let request = SpoolRequest { tag: tag.into() };
        assert_eq!(caller.radar.clone().spool(request).await.unwrap_err().code(), code);
        assert!(scene.spools.find(caller.person).is_none());
    }
}

/// The attack: to ask for a spool and give up, again and again, until syncthing is full of folders.
#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_given_up_half_way_is_made_to_the_end() {
    let at = tempfile::tempdir().unwrap();
    let gui = UnixListener::bind(at.path().join("gui")).unwrap();
    let syncthing = Arc::new(SessionSyncthing::at(&at.path().join("gui")));
    let Some(scene) = Scene::beside(Some(syncthing)).await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    let mut radar = scene.me.radar.clone();
    let call = tokio::spawn(async move { radar.spool(SpoolRequest { tag: "1".into() }).await });
    let mut asked = Vec::new();
    for _ in 0..2 {
        let accepted = tokio::time::timeout(Duration::from_secs(5), gui.accept()).await;
        let (mut stream, _) = accepted.unwrap_or_else(|_| panic!("nothing after {asked:?}")).unwrap();
        let mut request = vec![0; 64 << 10];
        let count = stream.read(&mut request).await.unwrap();
        let line = String::from_utf8_lossy(&request[..count]);
        asked.push(line.lines().next().unwrap_or_default().to_owned());
        if !call.is_finished() {
            call.abort();
            // What is at radar when it hears of that is the first request still.
            while !call.is_finished() {
                tokio::task::yield_now().await;
            }
            scene.me.radar.clone().version(VersionRequest {}).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
    }
    let kinds: Vec<_> = asked.iter().map(|line| line.contains("/folders")).collect();
    assert_eq!(kinds, [true, true], "two folders: {asked:?}");
}
