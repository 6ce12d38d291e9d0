//! Who is on the other side of a connection.

use ksync_keys::Fingerprint;
use tonic::{Request, Status};

/// Who is on the other side of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Whose key it is.
    pub(crate) person: Fingerprint,
}

/// Who calls.
pub(crate) fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    // The server's own: no client has a way to put anything there.
    let peer = request.extensions().get::<Peer>().cloned();
    peer.ok_or_else(|| Status::internal("the connection came in by another way than the door"))
}
