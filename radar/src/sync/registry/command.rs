//! The commands of the registry's task.

use std::sync::Arc;

use ksync_proto::radar::SessionEvent;
use tokio::sync::{mpsc, oneshot};

use super::error::Error;
use crate::{container::attachment::Attachment, sync::session::Hello};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

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
    /// Who holds a session, and with which device.
    Hello(String, Reply<Hello>),
    /// Whether a session has this device.
    Uses(String, Reply<bool>),
    /// A directory was opened and is to be held.
    Attach(Box<Attachment>, IfHeld, Reply<Arc<Attachment>>),
    /// An attachment of a session.
    Find(String, String, Reply<Arc<Attachment>>),
    /// Lets go of an attachment of a session.
    Detach(String, String, Reply<()>),
    /// The answer to a session's call that came with this attachment did not reach its client.
    Unheard(String, String),
    /// The container of an attachment has ended.
    Exited(String),
    /// Everything ends; answered when it has.
    Shutdown(oneshot::Sender<()>),
}

/// What becomes of an attachment whose directory another session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfHeld {
    /// It is refused.
    Refuse,
    /// It is taken over.
    TakeOver,
}
