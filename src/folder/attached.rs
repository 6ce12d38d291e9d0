//! A directory that is attached: what its folder holds from the attach until it is interrupted.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::node::{Attachment, Node};

/// A directory that is attached.
pub(super) struct Attached {
    pub(super) node: Arc<Node>,
    pub(super) attachment: Attachment,
    /// Why radar ends it, once it does.
    pub(super) end: oneshot::Receiver<String>,
    /// Mounts below it that are not synced, relative to it.
    pub(super) excluded: Vec<String>,
}
