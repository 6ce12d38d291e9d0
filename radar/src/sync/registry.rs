//! Sessions, attachments and folders of this node: the one task that owns them, and how it is spoken to.
//!
//! Invariant: nothing here waits. What takes time (resolving, listing, binding) is done by handlers and folders,
//! which tell the registry when it is over; an answer that depends on that is sent from a task of its own.

use std::{sync::Arc, time::Duration};

use ksync_proto::radar::{AttachmentEnd, Role, SessionEvent};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::{
    container::attachment::Attachment,
    paths::Paths,
    supervisor::node_syncthing::NodeSyncthingRx,
    sync::{
        folder::{self, view::View},
        session::Hello,
    },
};

mod attachments;
mod state;

use state::State;

/// How long a session outlives its stream.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

type Reply<T> = oneshot::Sender<Result<T, Status>>;

/// An attachment that ended with its folder.
#[derive(Debug)]
pub(crate) struct Over {
    /// Its id.
    pub(crate) attachment: String,
    /// What its owner is told.
    pub(crate) why: AttachmentEnd,
    /// In a sentence.
    pub(crate) reason: String,
}

/// What the registry is asked or told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A stream opens a session.
    Open(Hello, mpsc::Sender<SessionEvent>, Reply<()>),
    /// The stream of this epoch is gone.
    StreamLost(String, u64),
    /// The grace of the session that lost the stream of this epoch is over.
    GraceOver(String, u64),
    /// Who holds a session: `user@machine`.
    Holder(String, Reply<String>),
    /// Whether a session has this device.
    Uses(String, Reply<bool>),
    /// A directory was opened and is to be held; the flag takes it over from another session.
    Attach(Box<Attachment>, bool, Reply<Arc<Attachment>>),
    /// The role of an attachment; none before it has joined.
    RoleOf(String, Reply<Option<Role>>),
    /// An attachment has this role in its folder now.
    Joined(String, Role),
    /// An attachment of a session.
    Find(String, String, Reply<Arc<Attachment>>),
    /// Puts an attachment of a session under its folder.
    Join(String, String, Reply<Role>),
    /// Lets go of an attachment of a session.
    Detach(String, String, Reply<()>),
    /// The answer to a session's call that came with this attachment did not reach its client.
    Unheard(String, String),
    /// A folder of a session.
    Folder(String, String, Reply<folder::Handle>),
    /// The container of an attachment has ended.
    Exited(String),
    /// A folder has ended, and these attachments with it.
    FolderOver {
        /// Which.
        folder: View,
        /// All that were in it.
        attachments: Vec<Over>,
    },
    /// Everything ends; answered when it has.
    Shutdown(oneshot::Sender<()>),
}

/// How the registry is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    commands_tx: mpsc::UnboundedSender<Command>,
}

impl Registry {
    /// Starts the task. handlers, folders --commands_tx--> registry.
    pub(crate) fn spawn(syncthing_rx: NodeSyncthingRx, paths: Paths) -> Self {
        let (commands_tx, commands_rx) = mpsc::unbounded_channel();
        let state = State::new(commands_tx.clone(), syncthing_rx.clone(), paths);
        tokio::spawn(run(state, commands_rx, syncthing_rx));
        Self { commands_tx }
    }

    /// Says something that has no answer.
    pub(crate) fn tell(&self, command: Command) {
        if self.commands_tx.send(command).is_err() {
            tracing::debug!("the registry has ended");
        }
    }

    /// Asks for something.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Status> {
        let (reply_tx, reply_rx) = oneshot::channel();
        self.tell(command(reply_tx));
        reply_rx.await.map_err(|_| Status::unavailable("radar is stopping"))?
    }

    /// Ends everything: folders are removed, directories unbound, clients told.
    pub(crate) async fn shutdown(&self) {
        let (done_tx, done_rx) = oneshot::channel();
        self.tell(Command::Shutdown(done_tx));
        if done_rx.await.is_err() {
            tracing::error!("the registry ended before everything was removed");
        }
    }
}

async fn run(
    mut state: State,
    mut commands_rx: mpsc::UnboundedReceiver<Command>,
    mut syncthing_rx: NodeSyncthingRx,
) {
    loop {
        tokio::select! {
            command = commands_rx.recv() => match command {
                Some(command) => state.take(command),
                None => return,
            },
            changed = syncthing_rx.changed() => match changed {
                Ok(()) => state.syncthing_changed(),
                // The task that reaches syncthing has ended: only the shutdown is left.
                Err(_) => while let Some(command) = commands_rx.recv().await {
                    state.take(command);
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Child, sync::Arc};

    use jiff::Timestamp;
    use ksync_proto::radar::{AttachmentEnd, SessionEvent, session_event::Event};
    use tokio::sync::{mpsc, watch};
    use tonic::{Code, Status};

    use super::{Command, Registry};
    use crate::{
        container::{
            attachment::{Attachment, Claim},
            init_process::Life,
            mount::directory::open_directory,
            runtime::ContainerId,
        },
        paths::Paths,
        supervisor::node_syncthing::NodeSyncthingRx,
        sync::session::Hello,
    };

    /// A process that stands for a container: what is attached is a directory of this machine.
    struct Container(Child);

    impl Container {
        fn start() -> Self {
            Self(std::process::Command::new("sleep").arg("1000").spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            i32::try_from(self.0.id()).unwrap()
        }

        fn end(self) {
            drop(self);
        }
    }

    impl Drop for Container {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn registry() -> (Registry, watch::Sender<Option<Arc<crate::supervisor::node_syncthing::NodeSyncthing>>>)
    {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            paths: Paths,
        }
        let (syncthing_tx, syncthing_rx): (_, NodeSyncthingRx) = watch::channel(None);
        let paths = <Line as clap::Parser>::parse_from(["radar"]).paths;
        (Registry::spawn(syncthing_rx, paths), syncthing_tx)
    }

    async fn open(
        registry: &Registry,
        session: &str,
        epoch: u64,
    ) -> Result<mpsc::Receiver<SessionEvent>, Status> {
        let (events_tx, events_rx) = mpsc::channel(8);
        let hello = Hello {
            session: session.into(),
            epoch,
            holder: format!("{session}@laptop"),
            device: session.into(),
            fresh: false,
        };
        registry.ask(|reply| Command::Open(hello, events_tx, reply)).await.map(|()| events_rx)
    }

    /// None where this machine lets nobody clone mounts.
    async fn candidate(session: &str, container: &Container, path: &Path) -> Option<Box<Attachment>> {
        let directory = open_directory(container.pid(), &path.display().to_string()).await.ok()?;
        let claim = Claim {
            session: session.into(),
            holder: format!("{session}@laptop"),
            since: Timestamp::UNIX_EPOCH,
            folder: format!("folder-of-{session}"),
            container: ContainerId::parse(&format!("docker://{}", container.pid())).unwrap(),
            pod: String::new(),
            path: directory.path.clone(),
            identity: directory.identity,
        };
        let id = format!("{session}-{}", path.file_name().unwrap().display());
        Some(Box::new(Attachment::new(id, claim, Life::of(container.pid()).unwrap(), directory)))
    }

    async fn ended(events: &mut mpsc::Receiver<SessionEvent>) -> (String, AttachmentEnd, String) {
        match events.recv().await.unwrap().event.unwrap() {
            Event::AttachmentEnded(e) => (e.attachment_id.clone(), e.why(), e.reason),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn only_a_newer_stream_opens_a_session_that_is_there() {
        let (registry, _link_tx) = registry();
        let mut first = open(&registry, "s", 2).await.unwrap();
        assert_eq!(open(&registry, "s", 2).await.unwrap_err().code(), Code::Aborted);
        let _second = open(&registry, "s", 3).await.unwrap();
        assert!(matches!(first.recv().await.unwrap().event, Some(Event::SessionEnded(_))));
        assert!(first.recv().await.is_none());
        let unknown = registry.ask(|reply| Command::Holder("t".into(), reply)).await.unwrap_err();
        assert_eq!(unknown.message(), "session `t` is not open");
    }

    #[tokio::test]
    async fn a_directory_has_one_holder_until_it_is_taken_over_or_its_container_ends() {
        let (registry, _link_tx) = registry();
        let (container, dir) = (Container::start(), tempfile::tempdir().unwrap());
        let sub = dir.path().join("sub");
        std::fs::create_dir(&sub).unwrap();
        let Some(first) = candidate("s", &container, dir.path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let s = open(&registry, "s", 1).await.unwrap();
        let mut t = open(&registry, "t", 1).await.unwrap();
        let attach =
            async |attachment, take_over| registry.ask(|r| Command::Attach(attachment, take_over, r)).await;
        let held = attach(first, false).await.unwrap();
        // The same once more is another spec's, unless it comes over a newer stream: then it is the same attachment.
        let again = candidate("s", &container, dir.path()).await.unwrap();
        let refused = attach(again, false).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert!(refused.message().ends_with("is already synced by another spec of yours"), "{refused}");
        let mut s = {
            drop(s);
            open(&registry, "s", 2).await.unwrap()
        };
        let again = candidate("s", &container, dir.path()).await.unwrap();
        assert_eq!(attach(again, false).await.unwrap().id, held.id);
        let again = candidate("s", &container, dir.path()).await.unwrap();
        assert_eq!(attach(again, false).await.unwrap_err().code(), Code::AlreadyExists);
        // After a detach it is anybody's.
        registry.ask(|reply| Command::Detach("s".into(), held.id.clone(), reply)).await.unwrap();
        let again = candidate("s", &container, dir.path()).await.unwrap();
        let held = attach(again, false).await.unwrap();
        let refused = attach(candidate("t", &container, &sub).await.unwrap(), false).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert_eq!(
            refused.message(),
            format!(
                "`{}` is synced by s@laptop since 1970-01-01T00:00:00Z (at `{}`); a spec created with `--take-over` takes it over",
                sub.display(),
                dir.path().display()
            )
        );
        let taken = attach(candidate("t", &container, &sub).await.unwrap(), true).await.unwrap();
        let (id, why, reason) = ended(&mut s).await;
        assert_eq!(
            (id, why, reason.as_str()),
            (held.id.clone(), AttachmentEnd::TakenOver, "taken over by t@laptop")
        );
        let find = async |session: &str, id: &str| {
            registry.ask(|reply| Command::Find(session.into(), id.into(), reply)).await
        };
        assert!(find("s", &held.id).await.is_err());
        // One session never reaches another's.
        assert_eq!(find("s", &taken.id).await.unwrap_err().code(), Code::NotFound);
        assert!(find("t", &taken.id).await.is_ok());
        let join =
            registry.ask(|reply| Command::Join("t".into(), taken.id.clone(), reply)).await.unwrap_err();
        assert_eq!(join.code(), Code::FailedPrecondition);
        // A client that gave up on a call can repeat it.
        let lost = candidate("t", &container, &sub).await.unwrap();
        let call = lost.id.clone();
        registry.tell(Command::Detach("t".into(), taken.id.clone(), tokio::sync::oneshot::channel().0));
        attach(lost, false).await.unwrap();
        registry.tell(Command::Unheard("t".into(), call));
        let taken = attach(candidate("t", &container, &sub).await.unwrap(), false).await.unwrap();
        container.end();
        let (id, why, _) = ended(&mut t).await;
        assert_eq!((id, why), (taken.id.clone(), AttachmentEnd::ContainerExited));
        assert!(find("t", &taken.id).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_outlives_its_stream_by_the_grace() {
        let (registry, _link_tx) = registry();
        let _events = open(&registry, "s", 1).await.unwrap();
        registry.tell(Command::StreamLost("s".into(), 1));
        let holder = async || registry.ask(|reply| Command::Holder("s".into(), reply)).await;
        tokio::time::sleep(super::GRACE * 9 / 10).await;
        assert_eq!(holder().await.unwrap(), "s@laptop");
        let _newer = open(&registry, "s", 2).await.unwrap();
        // The grace of the older stream is no longer anybody's.
        tokio::time::sleep(super::GRACE).await;
        assert!(holder().await.is_ok());
        registry.tell(Command::StreamLost("s".into(), 1));
        registry.tell(Command::StreamLost("s".into(), 2));
        tokio::time::sleep(super::GRACE + std::time::Duration::from_millis(10)).await;
        assert!(holder().await.is_err());
    }
}
