//! The commands of a folder's task.

use std::sync::Arc;

use ksync_proto::radar::{AttachmentEnd, Role};
use tokio::sync::oneshot;

use super::error::Error;
use crate::container::attachment::Attachment;

/// What a folder is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Another container.
    Join(Arc<Attachment>, oneshot::Sender<Result<Role, Error>>),
    /// A container less; answered when it is let go of.
    Leave(String, oneshot::Sender<()>),
    /// Which way changes go from now on.
    SetDirection(Direction, oneshot::Sender<Result<(), Error>>),
    /// All of it ends; what the attachments are told.
    End(AttachmentEnd, String),
}

/// Which way changes go between the client's directory and a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The folder is receive-only.
    ToContainer,
    /// What the lead's container writes goes back as well.
    Both,
}
