//! Each guard alone against the accident: a container ends, the runtime removes its files underneath, and syncthing is
//! told to look. What it then finds goes to the laptop as the deletion of everything (tried with syncthing itself, and
//! it emptied the local directory).

use std::{
    fs,
    process::{Child, Command as Program},
    sync::{Arc, Mutex},
    time::Duration,
};

use ksync_proto::radar::AttachmentEnd;
use tokio::sync::oneshot;

use super::super::{Command, Direction, Reports, Start, spawn};
use crate::{
    container::attachment::fake::attached_to,
    guards::{Guard, off},
    supervisor::node_syncthing::fake::{Answers, node_syncthing},
    sync::session::Sink,
};

/// How long a runtime takes from the end of a process to the removal of its files; at least this.
const RUNTIME: Duration = Duration::from_millis(100);
/// How long the accident is waited for.
const LONG_ENOUGH: Duration = Duration::from_secs(3);

/// What the node's syncthing was told.
#[derive(Debug, Default)]
struct Told {
    /// It has the folder, and the folder is not paused.
    live: bool,
    /// The files are gone.
    emptied: bool,
    /// The type of the folder when it was added.
    added: Option<String>,
    /// It was told to scan a live folder without files.
    accident: bool,
    /// Items that it has not got yet.
    lacking: u32,
}

impl Told {
    fn hear(&mut self, call: &str) -> String {
        if let Some((_, config)) = call.split_once("PUT config/folders/f ") {
            let kind = config.split_once(r#""type":""#).and_then(|(_, rest)| rest.split('"').next());
            self.added = self.added.take().or(kind.map(str::to_owned));
            self.live = true;
        } else if call.starts_with("PATCH config/folders/f") || call.starts_with("DELETE config/folders/f") {
            self.live = false;
        } else if call.starts_with("POST db/scan") {
            self.accident |= self.live && self.emptied;
        } else if call.starts_with("GET db/status") {
            return format!(r#"{{"state":"idle","needTotalItems":{}}}"#, self.lacking);
        }
        String::new()
    }
}

struct Scene {
    told: Arc<Mutex<Told>>,
    handle: super::super::Handle,
    init: Child,
    dirs: [tempfile::TempDir; 2],
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.init.kill();
        let _ = self.init.wait();
        let mount_point = self.dirs[1].path().join("in-view");
        let _ = rustix::mount::unmount(&mount_point, rustix::mount::UnmountFlags::DETACH);
    }
}

impl Scene {
    /// Ends the folder while syncthing still answers: one that does not is killed, and here that is this very process.
    async fn end(self) {
        let over = Command::End(AttachmentEnd::TakenOver, "over".into());
        // A folder that has ended hears nothing.
        drop(self.handle.commands_tx.send(over));
        self.handle.done.cancelled().await;
    }
}

/// A folder over the directory of a container with a process of its own; none where mounts can't be cloned.
async fn scene(lacking: u32) -> Option<Scene> {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for name in ["a", "b", "c"] {
        fs::write(dirs[0].path().join(name), name).unwrap();
    }
    let init = Program::new("sleep").arg("1000").spawn().unwrap();
    let lead = attached_to("l", init.id(), dirs[0].path()).await;
    let told = Arc::new(Mutex::new(Told { lacking, ..Told::default() }));
    let hears = Arc::clone(&told);
    let answers: Answers = Arc::new(move |call| Some(hears.lock().unwrap().hear(call)));
    let syncthing = node_syncthing(dirs[1].path(), answers);
    let mount_point = dirs[1].path().join("in-view");
    let Some(lead) = lead else {
        let mut init = init;
        init.kill().unwrap();
        init.wait().unwrap();
        return None;
    };
    let start = Start {
        lead: Arc::clone(&lead),
        device: "D".into(),
        syncthing,
        mount_point,
        sink: Sink::default(),
        reports: Reports::heard_by(drop),
        after: None,
    };
    let handle = spawn(start);
    let (reply_tx, reply_rx) = oneshot::channel();
    handle.commands_tx.send(Command::Join(lead, reply_tx)).unwrap();
    reply_rx.await.unwrap().unwrap();
    Some(Scene { told, handle, init, dirs })
}

/// Whether the accident happens with only these guards; none where mounts can't be cloned.
async fn accident(standing: &[Guard]) -> Option<bool> {
    let _off = off::all_but(standing);
    let mut scene = scene(0).await?;
    scene.init.kill().unwrap();
    scene.init.wait().unwrap();
    tokio::time::sleep(RUNTIME).await;
    scene.told.lock().unwrap().emptied = true;
    for name in ["a", "b", "c"] {
        fs::remove_file(scene.dirs[0].path().join(name)).unwrap();
    }
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < LONG_ENOUGH && !scene.told.lock().unwrap().accident {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let accident = scene.told.lock().unwrap().accident;
    scene.end().await;
    Some(accident)
}

#[tokio::test]
async fn without_guards_it_happens_and_each_alone_prevents_it() {
    let Some(happens) = accident(&[]).await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    assert!(happens, "a test in which nothing can happen proves nothing");
    assert_eq!(accident(&[Guard::Pidfd]).await, Some(false), "the pidfd");
    assert_eq!(accident(&[Guard::RootCheck]).await, Some(false), "the root check");
}

/// What a container has in the place of the local files when it is attached (an old image, half a restore) is offered
/// to the laptop only by a folder that is not receive-only.
#[tokio::test]
async fn what_was_never_proved_equal_is_not_offered() {
    let offered = async |standing: &[Guard]| {
        let _off = off::all_but(standing);
        let scene = scene(1).await?;
        let (reply_tx, reply_rx) = oneshot::channel();
        scene.handle.commands_tx.send(Command::SetDirection(Direction::Both, reply_tx)).unwrap();
        let turned = reply_rx.await.unwrap().is_ok();
        let added = scene.told.lock().unwrap().added.clone();
        scene.end().await;
        Some((added.as_deref() == Some("sendreceive"), turned))
    };
    let Some(without) = offered(&[]).await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    assert_eq!(without, (true, true));
    assert_eq!(offered(&[Guard::ReceiveOnly]).await, Some((false, false)));
}
