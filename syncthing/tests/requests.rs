//! What the syncthing of radar's image answers to requests that no syncthing makes. `KSYNC_TEST_SYNCTHING` names the program
//! (`make syncthing-test`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the whole target is a test")]

#[path = "requests/bep.rs"]
mod bep;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bep::{Peer, Request};
use ksync_keys::Identity;
use syncthing::{Device, Folder, FolderType, TestSyncthing};

const LIMIT: Duration = Duration::from_secs(40);
/// What is in every file of the other person, over and over.
const SECRET: &[u8] = b"-another-person's-secret-";
/// What the attacker's file has.
const OWN: &[u8] = b"mine.\n";

struct Scene {
    dir: tempfile::TempDir,
    node: TestSyncthing,
    port: u16,
}

impl Scene {
    async fn new() -> Self {
        let binary =
            PathBuf::from(std::env::var_os("KSYNC_TEST_SYNCTHING").expect("KSYNC_TEST_SYNCTHING is set"));
        // The process's other tests may have done so.
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let node = TestSyncthing::start(&binary, &dir.path().join("node"), port).await;
        Self { dir, node, port }
    }

    /// A device that is known to it, and shares a folder of its own name.
    async fn device(&self, name: &str, fill: impl FnOnce(&Path)) -> Peer {
        let identity = Identity::for_syncthing().unwrap();
        let id = identity.fingerprint().device_id();
        let device = Device { compression: "never".into(), ..Device::new(&id, name, None) };
        self.node.client.put_device(&device).await.unwrap();
        let dir = self.dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        fill(&dir);
        let folder = Folder::spool(name, &dir.display().to_string(), FolderType::SendOnly, 0);
        self.node.client.put_folder(&folder.shared_with([&*id])).await.unwrap();
        let begun = Instant::now();
        while self.node.client.folder_status(name).await.unwrap().state != "idle" {
            assert!(begun.elapsed() < LIMIT, "the folder does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Peer::dial(self.port, identity).await.unwrap()
    }
}

/// Of `size` bytes of a folder's file.
fn request(folder: &str, name: &str, size: i32) -> Request {
    Request { folder: folder.into(), name: name.into(), size, ..Request::default() }
}

/// The attack: to ask for more bytes than one's own file has, while somebody else's files are answered for.
#[tokio::test]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn an_answer_has_no_more_than_the_file() {
    let scene = Scene::new().await;
    let block = SECRET.repeat((128 << 10) / SECRET.len());
    let mut other = scene.device("other", |dir| fs::write(dir.join("secret"), &block).unwrap()).await;
    let mut me = scene.device("me", |dir| fs::write(dir.join("six"), OWN).unwrap()).await;
    let size = i32::try_from(block.len()).unwrap();
    for n in 0..1000 {
        assert!(other.ask(request("other", "secret", size)).await.unwrap().data == block);
        // Half of them as of a file that is still being pulled.
        let asked = Request { from_temporary: n % 2 == 0, ..request("me", "six", 100_000) };
        let answer = me.ask(asked).await.unwrap();
        let got = String::from_utf8_lossy(&answer.data[..answer.data.len().min(60)]).into_owned();
        assert!(answer.data == OWN, "answer {n} has {} bytes: {got}", answer.data.len());
    }
    let beyond = Request { offset: 1 << 20, ..request("me", "six", 100_000) };
    assert!(me.ask(beyond).await.unwrap().data.is_empty());
    // Another person's folder, by its name.
    let refused = me.ask(request("other", "secret", size)).await.unwrap();
    assert!(refused.code != 0 && refused.data.is_empty());
}

/// The attack: one request that takes 2 GB.
#[tokio::test]
#[ignore = "takes a syncthing: make syncthing-test"]
async fn more_than_a_block_is_not_asked_for() {
    let scene = Scene::new().await;
    let mut me = scene.device("me", |dir| fs::write(dir.join("six"), OWN).unwrap()).await;
    for size in [i32::MAX, (16 << 20) + 1] {
        let refused = me.ask(request("me", "six", size)).await.unwrap();
        assert!(refused.code != 0 && refused.data.is_empty(), "{size}: {}", refused.data.len());
    }
    assert!(me.ask(request("me", "six", 16 << 20)).await.unwrap().data == OWN);
}
