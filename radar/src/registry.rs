//! Sessions, attachments and folders of this node: the one task that owns them, and how it is spoken to.
//!
//! Invariant: nothing here waits. What takes time (resolving, listing, binding) is done by handlers and folders,
//! which tell the registry when it is over; an answer that depends on that is sent from a task of its own.

use std::{sync::Arc, time::Duration};

use ksync_proto::radar::{AttachmentEnd, Role, SessionEvent};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::{
    attach::Attachment,
    folder::{self, view::View},
    link::LinkRx,
    places::Places,
    session::Hello,
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
    /// The role of an attachment that has joined, and which other one has the same directory.
    Standing(String, Reply<(Option<Role>, Option<String>)>),
    /// An attachment has this role in its folder now.
    Joined(String, Role),
    /// An attachment of a session.
    Find(String, String, Reply<Arc<Attachment>>),
    /// Puts an attachment of a session under its folder.
    Join(String, String, Reply<(Role, String)>),
    /// Lets go of an attachment of a session.
    Detach(String, String, Reply<()>),
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
    pub(crate) fn spawn(link_rx: LinkRx, places: Places) -> Self {
        let (commands_tx, commands_rx) = mpsc::unbounded_channel();
        let state = State::new(commands_tx.clone(), link_rx.clone(), places);
        tokio::spawn(run(state, commands_rx, link_rx));
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

async fn run(mut state: State, mut commands_rx: mpsc::UnboundedReceiver<Command>, mut link_rx: LinkRx) {
    loop {
        tokio::select! {
            command = commands_rx.recv() => match command {
                Some(command) => state.take(command),
                None => return,
            },
            changed = link_rx.changed() => match changed {
                Ok(()) => state.link_changed(),
                // The link's task has ended: only the shutdown is left.
                Err(_) => while let Some(command) = commands_rx.recv().await {
                    state.take(command);
                },
            },
        }
    }
}
