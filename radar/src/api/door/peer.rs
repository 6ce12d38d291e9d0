//! Who is on the other side of a connection.

use std::sync::Arc;

use ksync_keys::Fingerprint;
use tonic::{Request, Status};

use crate::api::allowance::{Allowance, Exceeded, Share};

/// Who is on the other side of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Whose key it is.
    pub(crate) person: Fingerprint,
    /// What the person may have at once.
    pub(crate) allowance: Arc<Allowance>,
    /// The connection's own share of that; without one it is told so, whatever it calls.
    pub(super) share: Result<Arc<Share>, Exceeded>,
}

/// Who calls, if the connection is not one too many.
pub(crate) fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    // The server's own: no client has a way to put anything there.
    let peer = request.extensions().get::<Peer>().cloned();
    let peer = peer.ok_or_else(|| Status::internal("the connection came in by another way than the door"))?;
    match &peer.share {
        Ok(_) => Ok(peer),
        Err(exceeded) => Err((*exceeded).into()),
    }
}
