//! The task that owns a local directory and all its containers.
//!
//! Invariants: what an operation does is written down before it is begun; an answer is taken for the attachment that it was
//! asked of, and for no later one; nothing is done while the local path is not the directory that it was.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use ksync_endpoint::{Depth, Driver, Endpoint, Input};
use ksync_merge::{Cleared, Group};
use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    command::{Command, Config},
    dispatcher::{Dispatcher, Event},
    journal::{Journal, JournalError},
    kinds::Kinds,
    ledger::Ledger,
    marks::SideMarks,
    state::State,
    turn::Running,
    unkept::Unkept,
};

/// Messages that wait for the engine at most: who has more of them waits.
const BACKLOG: usize = 256;
/// Messages that are taken in before the next operations are begun.
const TOGETHER: usize = 64;
/// How often both sides are asked for their sums.
const MARK_EVERY: Duration = Duration::from_secs(4);
/// After which what has failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Why an engine can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is known can't be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No thread for the local directory.
    #[error("start a thread for the local directory")]
    Thread(#[source] std::io::Error),
    /// The directory can't be opened once more.
    #[error(transparent)]
    Tree(#[from] ksync_tree::Error),
}

/// A running engine; ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Engine {
    commands_tx: mpsc::Sender<Command>,
    here: Driver,
    state_rx: watch::Receiver<State>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Engine {
    /// Starts it. Everything here is looked at first.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let Config { root, options, journal, keeper, check, edits, marks_tx } = config;
        let (journal, recovered) = Journal::open(&journal)?;
        if let Some(reason) = &recovered.damaged {
            tracing::warn!(reason, "what was known is damaged: what is not known any more is compared anew");
        }
        let group = Group::recover(recovered.records);
        let (events_tx, events_rx) = mpsc::channel(BACKLOG);
        let here_root = Arc::new(root.try_clone()?);
        let inline = options.inline;
        let tell_tx = events_tx.clone();
        let mut endpoint = Endpoint::new(root, options);
        // Nobody else is at work here.
        let left = endpoint.adopt_displaced()?;
        if left > 0 {
            tracing::info!(left, "files that an earlier run has displaced are brought to safety");
        }
        // The engine is gone when it does not listen.
        let tell = move |output| tell_tx.blocking_send(Event::Here(output)).is_ok();
        let here = Driver::start(endpoint, "ksync-local", tell).map_err(StartError::Thread)?;
        let (commands_tx, commands_rx) = mpsc::channel(BACKLOG);
        let state = State { two_way: group.two_way().cloned(), ..State::default() };
        let (state_tx, state_rx) = watch::channel(state.clone());
        let dispatcher = Dispatcher::new(here.clone(), here_root, inline, keeper, events_tx);
        let running = Running {
            group,
            journal,
            dispatcher,
            check,
            edits,
            marks_tx,
            members: HashMap::new(),
            kinds: Kinds::default(),
            unkept: Unkept::default(),
            of_containers: HashSet::new(),
            generation: 0,
            cleared: Cleared::default(),
            ledger: Ledger::default(),
            here_listing: Some(BTreeMap::new()),
            here_marks: SideMarks::default(),
            state,
            state_tx,
        };
        let end = CancellationToken::new();
        let task = tokio::spawn(run(running, events_rx, commands_rx, end));
        Ok(Self { commands_tx, here, state_rx, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Something may have changed here.
    pub fn hint(&self, path: &str, depth: Depth) {
        self.here.send(Input::Hint(path.to_owned(), depth));
    }

    /// Anything may have changed here.
    pub fn hint_all(&self) {
        self.here.send(Input::Everything);
    }

    /// All is hinted that had changed here when the mark of this number came.
    pub fn mark(&self, number: u64) {
        self.here.send(Input::Mark(number));
    }

    /// Tells it something. One that has ended does not hear it.
    pub async fn send(&self, command: Command) {
        if self.commands_tx.send(command).await.is_err() {
            tracing::debug!("an engine that has ended is told something");
        }
    }

    /// Follows it.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state_rx.clone()
    }
}

async fn run(
    mut running: Running,
    mut events_rx: mpsc::Receiver<Event>,
    mut commands_rx: mpsc::Receiver<Command>,
    end: CancellationToken,
) {
    let mut events = Vec::new();
    let mut mark = tokio::time::Instant::now() + MARK_EVERY;
    let mut retry = tokio::time::Instant::now() + RETRY;
    loop {
        let gates = running.next_gate();
        tokio::select! {
            () = end.cancelled() => return,
            command = commands_rx.recv() => match command {
                Some(command) => running.obey(command),
                None => return,
            },
            count = events_rx.recv_many(&mut events, TOGETHER) => {
                if count == 0 {
                    return;
                }
                for event in events.drain(..) {
                    running.hear(event);
                }
            }
            () = sleep_until(gates.unwrap_or(mark)), if gates.is_some() => {}
            () = sleep_until(mark) => {
                mark = tokio::time::Instant::now() + MARK_EVERY;
                running.mark();
            }
            () = sleep_until(retry) => {
                retry = tokio::time::Instant::now() + RETRY;
                running.retry();
            }
        }
        running.turn();
    }
}
