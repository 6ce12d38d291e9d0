//! The commands of the registry's task.

use std::{collections::HashSet, sync::Arc, time::Duration};

use ksync_keys::Fingerprint;
use ksync_proto::radar::SessionEvent;
use tokio::sync::{mpsc, oneshot};

use super::{
    error::Error,
    proofs::{Good, Life},
};
use crate::{
    container::{attachment::Attachment, power::Credential, runtime::ContainerId},
    sync::session::Hello,
};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the registry is asked or told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A stream opens a session.
    Open(Hello, mpsc::Sender<SessionEvent>, Reply<()>),
    /// The stream of this epoch is gone.
    StreamLost(Fingerprint, u64),
    /// The grace of the session that lost the stream of this epoch is over.
    GraceOver(Fingerprint, u64),
    /// What a person's session calls itself: `user@machine`.
    Holder(Fingerprint, Reply<String>),
    /// Who has something attached.
    Holding(Reply<HashSet<Fingerprint>>),
    /// A person has proved that he may exec into a container, and with which power; answered with how long that is good.
    Proved(Fingerprint, Life, Credential, Reply<Duration>),
    /// A person's proof that is good.
    Good(Fingerprint, Life, Reply<Good>),
    /// A person's proof of this number is over.
    ProofOver(Fingerprint, ContainerId, u64),
    /// A directory was opened and is to be held.
    Attach(Box<Attachment>, IfHeld, Reply<Arc<Attachment>>),
    /// An attachment of a person.
    Find(Fingerprint, String, Reply<Arc<Attachment>>),
    /// Lets go of an attachment of a person.
    Detach(Fingerprint, String, Reply<()>),
    /// The answer to a person's call that came with this attachment did not reach its client.
    Unheard(Fingerprint, String),
    /// The container of an attachment has ended.
    Exited(String),
    /// Everything ends; answered when it has.
    Shutdown(oneshot::Sender<()>),
}

/// What becomes of an attachment whose directory another person holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfHeld {
    /// It is refused.
    Refuse,
    /// It is taken over.
    TakeOver,
}
