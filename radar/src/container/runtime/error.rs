//! Why a container's process is not known, as a sentence for the person who syncs it.

use super::{sandbox::Sandbox, scheme::Scheme};

/// Why a container's process is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Not `scheme://id`, with the whole id.
    #[error(
        "`{id}` is not a whole container id with its runtime's scheme, `containerd://` and 64 hex digits for example"
    )]
    BadId {
        /// As it came.
        id: String,
    },
    /// A runtime that radar does not know.
    #[error("containers of `{scheme}` are not supported; supported are containerd, Docker and CRI-O")]
    UnknownScheme {
        /// Before `://`.
        scheme: String,
    },
    /// No socket of the runtime is on this node.
    #[error("no socket of {scheme} was found on this node (tried `{tried}`)")]
    NoSocket {
        /// Which runtime.
        scheme: Scheme,
        /// Where it was looked for, comma separated.
        tried: String,
    },
    /// The runtime does not have the container.
    #[error("{scheme} on this node has no container `{id}`")]
    NotFound {
        /// Which runtime.
        scheme: Scheme,
        /// Without its scheme.
        id: String,
    },
    /// The runtime has answered for another container than it was asked for.
    #[error("{scheme} on this node was asked for container `{id}`, and has answered for `{answered}`")]
    Another {
        /// Which runtime.
        scheme: Scheme,
        /// Without its scheme.
        id: String,
        /// The runtime's word.
        answered: String,
    },
    /// The container is there, but nothing runs in it.
    #[error("container `{id}` is not running, it is {state}")]
    NotRunning {
        /// Without its scheme.
        id: String,
        /// The runtime's word.
        state: String,
    },
    /// No process on this machine is the container's.
    #[error(
        "container `{id}` runs in a sandbox ({sandbox}): the node can't reach its files, so it can't be synced"
    )]
    Sandboxed {
        /// Without its scheme.
        id: String,
        /// What it is in.
        sandbox: Sandbox,
    },
    /// The runtime does not tell how the container was started.
    #[error("{scheme} on this node does not tell how container `{id}` was started")]
    NoRecord {
        /// Which runtime.
        scheme: Scheme,
        /// Without its scheme.
        id: String,
    },
    /// The runtime did not answer, or with something else.
    #[error("ask {scheme} on `{socket}` for container `{id}`: {reason}")]
    Asked {
        /// Which runtime.
        scheme: Scheme,
        /// The socket, as the node names it.
        socket: String,
        /// Without its scheme.
        id: String,
        /// What went wrong.
        reason: String,
    },
}
