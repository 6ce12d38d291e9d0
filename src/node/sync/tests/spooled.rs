//! Large files through a spool. Its syncthing is something that says yes to everything and moves nothing.

use std::{fs, path::PathBuf};

use ksync_engine::Pieces;
use ksync_spool::{End, Pair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};

use super::*;

struct Spooled {
    scene: Scene,
    dir: tempfile::TempDir,
}

impl Spooled {
    async fn new() -> Self {
        crate::tls::install();
        let (scene, dir) = (Scene::new().await, tempfile::tempdir().unwrap());
        let socket = dir.path().join("s");
        tokio::spawn(yes(UnixListener::bind(&socket).unwrap()));
        let pair = Pair::open(End::Here, &dir.path().join("spool"), "session", "1").unwrap();
        pair.share(&syncthing::Client::unix(&socket, "key").unwrap(), "D").await.unwrap();
        scene.spool.set(Some(Arc::new(pair)));
        Self { scene, dir }
    }

    fn at(&self, content: &[u8]) -> PathBuf {
        self.dir.path().join("spool/in").join(blake3::hash(content).to_hex().as_str())
    }

    async fn outbox_is_empty(&self) -> bool {
        for _ in 0..200 {
            if fs::read_dir(self.dir.path().join("spool/out")).unwrap().next().is_none() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

async fn yes(listener: UnixListener) {
    while let Ok((mut connection, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut asked = vec![0; 64 << 10];
            while let Ok(1..) = connection.read(&mut asked).await {
                let said = connection
                    .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                if said.await.is_err() {
                    return;
                }
            }
        });
    }
}

fn large() -> Vec<u8> {
    b"0123456789abcdef".repeat(usize::try_from(LARGE / 16 + 1000).unwrap())
}

fn pieces(content: &[u8]) -> Pieces {
    let (pieces_tx, pieces_rx) = mpsc::channel(1000);
    for piece in content.chunks(256 << 10) {
        pieces_tx.try_send(Ok(piece.to_vec())).unwrap();
    }
    pieces_rx
}

async fn all(mut pieces: Pieces) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(piece) = pieces.recv().await {
        all.extend(piece?);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_through_the_spool_and_by_the_stream_where_that_fails() {
    let mut spooled = Spooled::new().await;
    let (far, _news_rx) = spooled.scene.open("a-1");
    let (large, small) = (large(), b"small".to_vec());
    let entry = file(&large).unwrap();
    far.stage(1, "f", &entry, pieces(&large)).await.unwrap();
    assert!(spooled.scene.staged_rx.try_recv().is_err(), "nothing went by the stream");
    assert!(spooled.outbox_is_empty().await);
    far.stage(2, "f", &file(&small).unwrap(), pieces(&small)).await.unwrap();
    assert_eq!(spooled.scene.staged_rx.recv().await.unwrap(), Ok(small));
    // What radar did not get goes by the stream, and so does the next, for a while.
    *spooled.scene.not_spooled.lock().unwrap() = "it does not come".to_owned();
    for number in [3, 4] {
        far.stage(number, "f", &entry, pieces(&large)).await.unwrap();
        assert!(spooled.scene.staged_rx.recv().await.unwrap() == Ok(large.clone()));
        *spooled.scene.not_spooled.lock().unwrap() = String::new();
    }
    assert!(spooled.outbox_is_empty().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_changes_is_no_concern_of_the_spool() {
    let spooled = Spooled::new().await;
    let (far, _news_rx) = spooled.scene.open("a-1");
    let large = large();
    let (pieces_tx, pieces_rx) = mpsc::channel(8);
    pieces_tx.send(Ok(large[..1000].to_vec())).await.unwrap();
    pieces_tx.send(Err("`f` changed".to_owned())).await.unwrap();
    let entry = file(&large).unwrap();
    assert_eq!(far.stage(1, "f", &entry, pieces_rx).await.unwrap_err(), "`f` changed");
    assert!(far.stage(2, "f", &entry, pieces(&large[1..])).await.is_err(), "another content");
    assert!(spooled.scene.spool.way(&entry).await.is_some() && spooled.outbox_is_empty().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_through_the_spool_is_what_it_should_be_or_is_read_again() {
    let spooled = Spooled::new().await;
    let (far, _news_rx) = spooled.scene.open("a-1");
    let large = large();
    let entry = file(&large).unwrap();
    fs::write(spooled.at(&large), &large).unwrap();
    assert!(all(far.read("f", &entry).await.unwrap()).await == Ok(large.clone()));
    // The node's syncthing may bring anything.
    let other: Vec<u8> = large.iter().map(|byte| byte ^ 1).collect();
    fs::write(spooled.at(&large), &other).unwrap();
    let wrong = all(far.read("f", &entry).await.unwrap()).await.unwrap_err();
    assert!(wrong.ends_with("has another content"), "{wrong}");
    assert_eq!(all(far.read("by the stream", &entry).await.unwrap()).await.unwrap(), b"by the stream");
    let spooled = Spooled::new().await;
    let (far, _news_rx) = spooled.scene.open("a-1");
    fs::write(spooled.at(&large), "short").unwrap();
    assert_eq!(all(far.read("at once", &entry).await.unwrap()).await.unwrap(), b"at once");
}
