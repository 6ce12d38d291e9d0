//! A directory that is attached: what its folder holds from the attach until it is interrupted.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::node::{Attachment, AttachmentEvent, Node, Patience, Role};

/// A directory that is attached.
pub(super) struct Attached {
    pub(super) node: Arc<Node>,
    pub(super) attachment: Attachment,
    /// What radar tells of it.
    pub(super) events: mpsc::Receiver<AttachmentEvent>,
    /// Mounts below it that are not synced, relative to it.
    pub(super) excluded: Vec<String>,
    /// Set once it has joined its folder on the node.
    pub(super) role: Option<Role>,
    /// With which it waits for its node's compare permits.
    pub(super) patience: Patience,
}
