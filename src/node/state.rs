//! Where the connection to a node stands.

use std::sync::Arc;

use super::link::Link;

/// Where the connection to a node stands.
#[derive(Debug, Clone)]
pub(crate) enum NodeState {
    /// Not connected; why, once it is known.
    Down {
        /// A sentence, empty before the first try is over.
        reason: String,
        /// Whether a person must put it right; else it is the network, and heals by itself.
        broken: bool,
    },
    /// Connected, session ready.
    Up(Arc<Link>),
}
