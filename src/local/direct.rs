//! A local folder under ksync's own engine (decision 0011): what the system's watch tells goes there as hints, and what the
//! engine says goes into the folder's state. Built in with the feature `engine`, until all cases go this way.

use std::{
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ksync_endpoint::{Depth, Options};
use ksync_engine::{Check, Command as EngineCommand, Config, Edits, Engine, Keeper, StartError};
use ksync_merge::{First, Keep};
use ksync_tree::{Ignore, Owner};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    actor::{Command, LocalState, Uptake},
    fs_watch::{Debounce, FsEvent, FsWatch},
    history::{LocalEdit, LocalEdits},
    root::LocalRoot,
};
use crate::kept;

/// Whether folders go this way.
pub(crate) const DIRECT: bool = cfg!(feature = "engine");
/// Content of at most so many bytes goes with the message about it.
pub(crate) const INLINE: u64 = 64 << 10;
/// Events that are taken in at once, at most.
const AT_ONCE: usize = 4096;

/// Puts what is replaced or removed into the folder's kept directory.
#[derive(Debug)]
struct Kept(PathBuf);

impl Kept {
    fn kind(why: Keep) -> kept::Kind {
        match why {
            Keep::First => kept::Kind::FirstSync,
            Keep::Conflict => kept::Kind::Conflict,
            Keep::Taken => kept::Kind::ReplacedAtAttach,
        }
    }
}

impl Keeper for Kept {
    fn place(&self, why: Keep) -> io::Result<PathBuf> {
        let place = Self::kind(why).moment(&self.0);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
        Ok(place)
    }

    fn kept(&self, why: Keep, path: &str) {
        kept::trim(&self.0, Self::kind(why), &[path.to_owned()]);
    }
}

/// What an engine is started from.
pub(super) struct Start<'a> {
    pub(super) root: &'a Arc<LocalRoot>,
    pub(super) ignore: &'a Ignore,
    /// The patterns that a person has named.
    pub(super) named: &'a [String],
    pub(super) kept: &'a Path,
    pub(super) journal: PathBuf,
    pub(super) edits: &'a Arc<LocalEdits>,
}

/// Starts the engine of a folder.
pub(super) fn start(start: &Start<'_>) -> Result<Engine, StartError> {
    let (root, edits) = (Arc::clone(start.root), Arc::clone(start.edits));
    Engine::start(Config {
        root: start.root.root().try_clone()?,
        options: Options {
            ignore: start.ignore.clone(),
            exclude: Vec::new(),
            junk: Options::junk(start.named),
            owner: Owner::AsIs,
            inline: INLINE,
        },
        journal: start.journal.clone(),
        keeper: Arc::new(Kept(start.kept.to_owned())),
        first: First::Local,
        check: Check::new(move || root.check()),
        edits: Edits::new(move |path| edits.record(LocalEdit::Path(path.to_owned()))),
    })
}

/// Feeds the engine until `end`.
pub(super) async fn run(
    engine: Engine,
    mut fs_watch: FsWatch,
    state_tx: watch::Sender<LocalState>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    end: CancellationToken,
) {
    let mut debounce = Debounce::default();
    let mut state = engine.state();
    let mut synced = false;
    loop {
        let due = debounce.next();
        tokio::select! {
            () = end.cancelled() => return,
            Some((at, event)) = fs_watch.rx.recv() => {
                take(&engine, &mut debounce, at, event);
                for _ in 0..AT_ONCE {
                    let Some((at, event)) = fs_watch.rx.try_recv() else { break };
                    take(&engine, &mut debounce, at, event);
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                for (_, path) in debounce.due(Instant::now()) {
                    engine.hint(&path, Depth::Tree);
                }
            }
            changed = state.changed() => if changed.is_err() { return },
            Some(command) = commands.recv() => obey(command),
        }
        let now = state.borrow_and_update().clone();
        if !synced && !now.members.is_empty() && now.members.values().all(|member| member.settled) {
            synced = true;
            engine.send(EngineCommand::Synced).await;
        }
        let pending = debounce.next().is_some();
        let uptake = match &now.halted {
            _ if !now.listed => Uptake::Down { reason: None },
            None => Uptake::Scanned { process: 1 },
            Some(reason) => Uptake::Halted { process: 1, reason: reason.clone() },
        };
        let sequence = i64::try_from(now.edits).unwrap_or(i64::MAX);
        state_tx.send_if_modified(|told| {
            let next = LocalState { uptake, pending, sequence, ..told.clone() };
            let news = *told != next;
            *told = next;
            news
        });
    }
}

fn take(engine: &Engine, debounce: &mut Debounce, at: Instant, event: FsEvent) {
    match event {
        FsEvent::NotUtf8 | FsEvent::ConflictCopy(_) => {}
        FsEvent::Rescan | FsEvent::WatchLimit => engine.hint_all(),
        FsEvent::Failed(reason) => {
            warn!(reason, "the local watch failed; looking at everything");
            engine.hint_all();
        }
        of_a_path => {
            for path in debounce.take(at, of_a_path) {
                engine.hint(&path, Depth::Tree);
            }
        }
    }
}

/// What the old way asks of its actor. Who waits for an answer gets one.
fn obey(command: Command) {
    match command {
        Command::Share { done, .. } | Command::Barrier { done } => drop(done.send(())),
        Command::Answer { done, .. } => drop(done.send(Ok(0))),
        Command::Exclude { done, .. } => drop(done.send(Ok(()))),
        Command::Dial { .. }
        | Command::Unshare { .. }
        | Command::Deleted { .. }
        | Command::Restored { .. }
        | Command::Detached
        | Command::Running { .. }
        | Command::Scan { .. } => {}
    }
}

/// A claim is looked at again so often, because it ages.
pub(crate) const AGES: Duration = Duration::from_secs(1);
