//! The way of an endpoint's replies to the client.

use ksync_wire::Reply;
use tokio::sync::mpsc;

/// Where an endpoint's replies go: endpoints --replies_tx--> the stream of their session. It has little room: a client that
/// is slow to read slows its endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Replies {
    /// Number of the channel on the stream.
    pub(crate) channel: u32,
    /// The stream.
    pub(crate) replies_tx: mpsc::Sender<(u32, Reply)>,
}
