//! A folder's task against something that answers like syncthing.

mod guards;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use ksync_proto::radar::{AttachmentEnd, Role, SessionEvent, session_event::Event};
use syncthing::TypedEvent;
use tokio::sync::{mpsc, oneshot};

use super::{Command, Direction, Error, Handle, Report, Reports, Start, spawn};
use crate::{
    container::attachment::fake::attached,
    supervisor::{
        events::Heard,
        node_syncthing::{
            NodeSyncthing,
            fake::{Answers, node_syncthing},
        },
    },
    sync::session::Sink,
};

struct Bench {
    handle: Handle,
    syncthing: Arc<NodeSyncthing>,
    /// Folder types that were put.
    puts: Arc<Mutex<Vec<String>>>,
    /// Whether syncthing takes configurations.
    well: Arc<AtomicBool>,
    events_rx: mpsc::Receiver<SessionEvent>,
    reports_rx: mpsc::UnboundedReceiver<Report>,
    mount_point: PathBuf,
    _dirs: [tempfile::TempDir; 2],
}

/// A folder that has its lead; none where mounts can't be cloned.
async fn bench() -> Option<Bench> {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let lead = attached("l", dirs[0].path()).await?;
    let (puts, well) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
    let (seen, takes) = (Arc::clone(&puts), Arc::clone(&well));
    let answers: Answers = Arc::new(move |call| {
        if call.starts_with("PUT config/folders/f ") {
            let (_, rest) = call.split_once(r#""type":""#).unwrap();
            seen.lock().unwrap().push(rest.split('"').next().unwrap().to_owned());
            return takes.load(Ordering::SeqCst).then(String::new);
        }
        let status = call.starts_with("GET db/status");
        Some(if status { r#"{"state":"idle"}"#.to_owned() } else { String::new() })
    });
    let syncthing = node_syncthing(dirs[1].path(), answers);
    let mount_point = dirs[1].path().join("in-view");
    let (sink, (events_tx, events_rx)) = (Sink::default(), mpsc::channel(64));
    sink.switch(Some(events_tx), "");
    let (reports_tx, reports_rx) = mpsc::unbounded_channel();
    let handle = spawn(Start {
        lead: Arc::clone(&lead),
        device: "D".into(),
        syncthing: Arc::clone(&syncthing),
        mount_point: mount_point.clone(),
        sink,
        reports: Reports::heard_by(move |report| drop(reports_tx.send(report))),
        after: None,
    });
    let (reply_tx, reply_rx) = oneshot::channel();
    handle.commands_tx.send(Command::Join(lead, reply_tx)).unwrap();
    match reply_rx.await.unwrap() {
        Ok(role) => assert_eq!(role, Role::Lead),
        Err(error) => panic!("{error}"),
    }
    Some(Bench { handle, syncthing, puts, well, events_rx, reports_rx, mount_point, _dirs: dirs })
}

impl Drop for Bench {
    /// A test that failed leaves no mount on this machine.
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.mount_point, rustix::mount::UnmountFlags::DETACH);
    }
}

impl Bench {
    async fn direction(&self, direction: Direction) -> Result<(), Error> {
        let (reply_tx, reply_rx) = oneshot::channel();
        self.handle.commands_tx.send(Command::SetDirection(direction, reply_tx)).unwrap();
        reply_rx.await.unwrap()
    }

    fn puts(&self) -> Vec<String> {
        std::mem::take(&mut *self.puts.lock().unwrap())
    }

    async fn end(self) {
        // A folder that has ended hears nothing.
        drop(self.handle.commands_tx.send(Command::End(AttachmentEnd::TakenOver, "over".into())));
        self.handle.done.cancelled().await;
        assert!(!self.mount_point.exists(), "unbound");
    }
}

#[tokio::test]
async fn only_what_is_not_ignored_is_told_of_and_only_while_it_is_two_way() {
    let Some(mut bench) = bench().await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    let deleted = |path: &str| TypedEvent::LocalChange {
        folder: "f".into(),
        path: path.into(),
        kind: "file".into(),
        action: "deleted".into(),
    };
    bench.syncthing.heard.send(Heard::Event(1, deleted("early"))).unwrap();
    bench.handle.progress.seen_rx.wait_for(|seen| *seen == 1).await.unwrap();
    bench.direction(Direction::Both).await.unwrap();
    for path in [".git/HEAD", "__pycache__/m.pyc", "source"] {
        bench.syncthing.heard.send(Heard::Event(2, deleted(path))).unwrap();
    }
    let told = bench.events_rx.recv().await.unwrap().event.unwrap();
    let Event::ContainerChange(change) = told else { panic!("{told:?}") };
    assert_eq!((change.path.as_str(), change.action.as_str()), ("source", "deleted"));
    bench.end().await;
}

#[tokio::test]
async fn it_goes_back_to_receive_only_or_ends() {
    let Some(mut bench) = bench().await else {
        return ksync_skip::skipped("mounts can't be cloned here");
    };
    assert_eq!(bench.puts(), ["receiveonly"]);
    // It is already: nothing starts anew.
    bench.direction(Direction::ToContainer).await.unwrap();
    assert!(bench.puts().is_empty());
    bench.direction(Direction::Both).await.unwrap();
    bench.direction(Direction::ToContainer).await.unwrap();
    assert_eq!(bench.puts(), ["sendreceive", "receiveonly"]);
    // syncthing may have taken what it did not confirm.
    bench.well.store(false, Ordering::SeqCst);
    assert!(bench.direction(Direction::Both).await.is_err());
    assert!(bench.direction(Direction::ToContainer).await.is_err());
    assert_eq!(bench.puts(), ["sendreceive", "receiveonly"]);
    let Some(Report::Over { attachments, .. }) = bench.reports_rx.recv().await else { panic!() };
    assert_eq!(attachments[0].why, AttachmentEnd::LeadLost);
    assert!(
        attachments[0].reason.starts_with("it could not be made receive-only: "),
        "{}",
        attachments[0].reason
    );
    bench.end().await;
}
