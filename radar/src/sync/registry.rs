//! Sessions and attachments of this node: the one task that owns them, and the handle to that task.
//!
//! Invariant: nothing here waits. What takes time (resolving, listing) is done by handlers and endpoints.

use std::collections::HashSet;

use ksync_keys::Fingerprint;
use tokio::sync::{mpsc, oneshot};

use crate::sync::spools::Spools;

mod command;
mod error;
mod held;
mod proofs;
mod state;

pub(crate) use command::{Command, IfHeld};
pub(crate) use error::Error;
pub(crate) use proofs::Life;

use command::Reply;
use state::State;

/// How the registry is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    /// Without a bound: each call, stream and attachment has at most a few commands on their way.
    commands_tx: mpsc::UnboundedSender<Command>,
}

impl Registry {
    /// Starts the task. handlers --commands_tx--> registry.
    pub(crate) fn spawn(spools: Spools) -> Self {
        let (commands_tx, commands_rx) = mpsc::unbounded_channel();
        let state = State::new(commands_tx.clone(), spools);
        tokio::spawn(run(state, commands_rx));
        Self { commands_tx }
    }

    /// Says something that has no answer.
    pub(crate) fn tell(&self, command: Command) {
        if self.commands_tx.send(command).is_err() {
            tracing::debug!("the registry has ended");
        }
    }

    /// Asks for something.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply_tx, reply_rx) = oneshot::channel();
        self.tell(command(reply_tx));
        reply_rx.await.map_err(|_| Error::Stopping)?
    }

    /// Who has something attached; nobody when radar stops.
    pub(crate) async fn holding(&self) -> HashSet<Fingerprint> {
        self.ask(Command::Holding).await.unwrap_or_default()
    }

    /// Ends everything: attachments are let go of, clients told.
    pub(crate) async fn shutdown(&self) {
        let (done_tx, done_rx) = oneshot::channel();
        self.tell(Command::Shutdown(done_tx));
        if done_rx.await.is_err() {
            tracing::error!("the registry ended before everything was let go of");
        }
    }
}

async fn run(mut state: State, mut commands_rx: mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = commands_rx.recv().await {
        state.take(command);
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Child};

    use jiff::Timestamp;
    use ksync_keys::Fingerprint;
    use ksync_proto::radar::{AttachmentEnd, SessionEvent, session_event::Event};
    use tokio::sync::mpsc;
    use tonic::{Code, Status};

    use super::{Command, IfHeld, Life, Registry, command::Reply};
    use crate::{
        container::{
            attachment::{Attachment, Claim},
            init_process::InitProcess,
            mount::directory::open_directory,
            power::Credential,
            runtime::{ContainerId, Scheme},
        },
        sync::{
            session::{GRACE, Hello},
            spools::Spools,
        },
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

    fn spools() -> Spools {
        let none = std::env::temp_dir().join(format!("ksync-none-{}", std::process::id()));
        Spools::below(none.clone(), none)
    }

    fn registry() -> Registry {
        Registry::spawn(spools())
    }

    /// The answer as a client gets it.
    async fn ask<T>(registry: &Registry, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Status> {
        registry.ask(command).await.map_err(Status::from)
    }

    fn person(name: &str) -> Fingerprint {
        Fingerprint::of(name.as_bytes())
    }

    async fn open(
        registry: &Registry,
        name: &str,
        epoch: u64,
    ) -> Result<mpsc::Receiver<SessionEvent>, Status> {
        let (events_tx, events_rx) = mpsc::channel(8);
        let hello = Hello { person: person(name), epoch, holder: format!("{name}@laptop"), fresh: false };
        ask(registry, |reply| Command::Open(hello, events_tx, reply)).await.map(|()| events_rx)
    }

    /// None where this machine lets nobody clone mounts.
    async fn candidate(name: &str, container: &Container, path: &Path) -> Option<Box<Attachment>> {
        let directory =
            open_directory(container.pid(), &path.display().to_string(), Credential::own()).await.ok()?;
        let claim = Claim {
            person: person(name),
            holder: format!("{name}@laptop"),
            since: Timestamp::UNIX_EPOCH,
            folder: format!("folder-of-{name}"),
            container: ContainerId { scheme: Scheme::Docker, id: container.pid().to_string() },
            pod: String::new(),
            path: directory.path.clone(),
            identity: directory.identity,
        };
        let id = format!("{name}-{}", path.file_name().unwrap().display());
        Some(Box::new(Attachment::new(id, claim, InitProcess::with_pid(container.pid()).unwrap(), directory)))
    }

    async fn prove(registry: &Registry, name: &str, attachment: &Attachment) {
        let life = Life::of(attachment);
        ask(registry, |reply| Command::Proved(person(name), life, Credential::own(), reply)).await.unwrap();
    }

    async fn ended(events: &mut mpsc::Receiver<SessionEvent>) -> (String, AttachmentEnd, String) {
        match events.recv().await.unwrap().event.unwrap() {
            Event::AttachmentEnded(e) => (e.attachment_id.clone(), e.why(), e.reason),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn only_a_newer_stream_opens_a_session_that_is_there() {
        let registry = registry();
        let mut first = open(&registry, "s", 2).await.unwrap();
        assert_eq!(open(&registry, "s", 2).await.unwrap_err().code(), Code::Aborted);
        let _second = open(&registry, "s", 3).await.unwrap();
        assert!(matches!(first.recv().await.unwrap().event, Some(Event::SessionEnded(_))));
        assert!(first.recv().await.is_none());
        let unknown = ask(&registry, |reply| Command::Holder(person("t"), reply)).await.unwrap_err();
        assert_eq!(unknown.message(), format!("no session of key `{}` is open", person("t")));
    }

    #[tokio::test]
    async fn a_directory_has_one_holder_until_it_is_taken_over_or_its_container_ends() {
        let registry = registry();
        let (container, dir) = (Container::start(), tempfile::tempdir().unwrap());
        let sub = dir.path().join("sub");
        std::fs::create_dir(&sub).unwrap();
        let Some(first) = candidate("s", &container, dir.path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let s = open(&registry, "s", 1).await.unwrap();
        let mut t = open(&registry, "t", 1).await.unwrap();
        let attach =
            async |attachment, if_held| ask(&registry, |r| Command::Attach(attachment, if_held, r)).await;
        for name in ["s", "t"] {
            prove(&registry, name, &first).await;
        }
        let held = attach(first, IfHeld::Refuse).await.unwrap();
        // The same once more is another spec's, unless it comes over a newer stream: then it is the same attachment.
        let again = candidate("s", &container, dir.path()).await.unwrap();
        let refused = attach(again, IfHeld::Refuse).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert!(refused.message().ends_with("is already synced by another spec of yours"), "{refused}");
        let mut s = {
            drop(s);
            open(&registry, "s", 2).await.unwrap()
        };
        let again = candidate("s", &container, dir.path()).await.unwrap();
        assert_eq!(attach(again, IfHeld::Refuse).await.unwrap().id, held.id);
        let again = candidate("s", &container, dir.path()).await.unwrap();
        assert_eq!(attach(again, IfHeld::Refuse).await.unwrap_err().code(), Code::AlreadyExists);
        // After a detach it is anybody's.
        ask(&registry, |reply| Command::Detach(person("s"), held.id.clone(), reply)).await.unwrap();
        let again = candidate("s", &container, dir.path()).await.unwrap();
        let held = attach(again, IfHeld::Refuse).await.unwrap();
        let refused =
            attach(candidate("t", &container, &sub).await.unwrap(), IfHeld::Refuse).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert_eq!(
            refused.message(),
            format!(
                "`{}` is synced by s@laptop since 1970-01-01T00:00:00Z (at `{}`); a spec created with `--take-over` takes it over",
                sub.display(),
                dir.path().display()
            )
        );
        let taken = attach(candidate("t", &container, &sub).await.unwrap(), IfHeld::TakeOver).await.unwrap();
        let (id, why, reason) = ended(&mut s).await;
        assert_eq!(
            (id, why, reason.as_str()),
            (held.id.clone(), AttachmentEnd::TakenOver, "taken over by t@laptop")
        );
        let find = async |name: &str, id: &str| {
            ask(&registry, |reply| Command::Find(person(name), id.into(), reply)).await
        };
        assert!(find("s", &held.id).await.is_err());
        // Nobody ever reaches another's.
        assert_eq!(find("s", &taken.id).await.unwrap_err().code(), Code::NotFound);
        assert!(find("t", &taken.id).await.is_ok());
        // A client that gave up on a call can repeat it.
        let lost = candidate("t", &container, &sub).await.unwrap();
        let call = lost.id.clone();
        registry.tell(Command::Detach(person("t"), taken.id.clone(), tokio::sync::oneshot::channel().0));
        attach(lost, IfHeld::Refuse).await.unwrap();
        registry.tell(Command::Unheard(person("t"), call));
        let taken = attach(candidate("t", &container, &sub).await.unwrap(), IfHeld::Refuse).await.unwrap();
        container.end();
        let (id, why, _) = ended(&mut t).await;
        assert_eq!((id, why), (taken.id.clone(), AttachmentEnd::ContainerExited));
        assert!(find("t", &taken.id).await.is_err());
    }

    #[tokio::test]
    async fn a_spool_is_of_one_session_and_goes_with_it() {
        let spools = spools();
        let registry = Registry::spawn(spools.clone());
        let me = person("s");
        let _events = open(&registry, "s", 1).await.unwrap();
        let device = spools.device(me).unwrap();
        let _newer = open(&registry, "s", 2).await.unwrap();
        assert_eq!(spools.device(me).unwrap(), device, "the same session, over a newer stream");
        spools.open(me, "1").unwrap();
        registry.tell(Command::StreamLost(me, 2));
        tokio::time::pause();
        tokio::time::sleep(GRACE * 2).await;
        assert!(spools.find(me).is_none() && spools.device(me).is_err());
        tokio::time::resume();
        let _back = open(&registry, "s", 3).await.unwrap();
        assert_ne!(spools.device(me).unwrap(), device);
    }

    /// The attacks: without a proof, with somebody else's, and with one of one's own that is over.
    #[tokio::test]
    async fn what_is_attached_rests_on_a_proof_of_ones_own() {
        let registry = registry();
        let (container, dir) = (Container::start(), tempfile::tempdir().unwrap());
        let Some(first) = candidate("s", &container, dir.path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let mut s = open(&registry, "s", 1).await.unwrap();
        let _t = open(&registry, "t", 1).await.unwrap();
        let attach =
            async |attachment| ask(&registry, |r| Command::Attach(attachment, IfHeld::TakeOver, r)).await;
        let life = Life::of(&first);
        let refused = attach(first).await.unwrap_err();
        let said = format!(
            "key `{}` has not proved that it may exec into container `docker://{}`",
            person("s"),
            container.pid()
        );
        assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, &*said));
        let again = candidate("s", &container, dir.path()).await.unwrap();
        prove(&registry, "t", &again).await;
        assert_eq!(attach(again).await.unwrap_err().code(), Code::Unauthenticated, "somebody else's");
        let again = candidate("s", &container, dir.path()).await.unwrap();
        prove(&registry, "s", &again).await;
        let held = attach(again).await.unwrap();
        // Proved anew: the first proof's end is nobody's any more.
        registry.tell(Command::ProofOver(person("s"), life.container.clone(), 1));
        let again = candidate("s", &container, dir.path()).await.unwrap();
        prove(&registry, "s", &again).await;
        registry.tell(Command::ProofOver(person("s"), life.container.clone(), 2));
        let found = ask(&registry, |reply| Command::Find(person("s"), held.id.clone(), reply)).await;
        assert!(found.is_ok());
        registry.tell(Command::ProofOver(person("s"), life.container.clone(), 3));
        let (id, why, reason) = ended(&mut s).await;
        assert_eq!(
            (id, why, &*reason),
            (held.id.clone(), AttachmentEnd::Unproved, "that you may exec into it was not proved anew")
        );
        // With the session all proofs go.
        let again = candidate("t", &container, dir.path()).await.unwrap();
        registry.tell(Command::StreamLost(person("t"), 1));
        tokio::time::pause();
        tokio::time::sleep(GRACE * 2).await;
        let _back = open(&registry, "t", 2).await.unwrap();
        assert_eq!(attach(again).await.unwrap_err().code(), Code::Unauthenticated);
    }

    /// The attack: sessions with keys that were made for it.
    #[tokio::test]
    async fn who_opens_many_sessions_keeps_nobody_out() {
        let registry = registry();
        let (container, dir) = (Container::start(), tempfile::tempdir().unwrap());
        let Some(attachment) = candidate("s", &container, dir.path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let _mine = open(&registry, "s", 1).await.unwrap();
        prove(&registry, "s", &attachment).await;
        ask(&registry, |r| Command::Attach(attachment, IfHeld::Refuse, r)).await.unwrap();
        let mut flood = Vec::new();
        for n in 0..1000 {
            flood.push(open(&registry, &format!("made-{n}"), u64::MAX).await.unwrap());
        }
        // Whoever has just come, and is about to attach, is not the one that goes.
        let late: Vec<String> = (0..10).map(|n| format!("late-{n}")).collect();
        let mut events = Vec::new();
        for name in &late {
            events.push(open(&registry, name, 1).await.unwrap());
        }
        for n in 1000..1490 {
            flood.push(open(&registry, &format!("made-{n}"), u64::MAX).await.unwrap());
        }
        for name in late.iter().map(String::as_str).chain(["s"]) {
            assert!(ask(&registry, |reply| Command::Holder(person(name), reply)).await.is_ok(), "{name}");
        }
        let ended = flood.iter_mut().filter_map(|events| events.try_recv().ok()).count();
        assert_eq!(ended, 1501 - 512, "the others were told");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_outlives_its_stream_by_the_grace() {
        let registry = registry();
        let _events = open(&registry, "s", 1).await.unwrap();
        registry.tell(Command::StreamLost(person("s"), 1));
        let holder = async || ask(&registry, |reply| Command::Holder(person("s"), reply)).await;
        tokio::time::sleep(GRACE * 9 / 10).await;
        assert_eq!(holder().await.unwrap(), "s@laptop");
        let _newer = open(&registry, "s", 2).await.unwrap();
        // The grace of the older stream is no longer anybody's.
        tokio::time::sleep(GRACE).await;
        assert!(holder().await.is_ok());
        registry.tell(Command::StreamLost(person("s"), 1));
        registry.tell(Command::StreamLost(person("s"), 2));
        tokio::time::sleep(GRACE + std::time::Duration::from_millis(10)).await;
        assert!(holder().await.is_err());
    }
}
