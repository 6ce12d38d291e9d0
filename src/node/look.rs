//! Asking radar about a path before anything is written, apart from a watcher.

use std::{sync::Arc, time::Duration};

use ksync_proto::radar::LookRequest;
use kube::Client;

use super::{
    call_error::CallError,
    identity::SessionIdentity,
    large_file::LargeFile,
    link::{self, Error},
    messages::LookReply,
    prover::Prover,
    spool::Spool,
    wire,
};
use crate::{targets::RemoteContainer, tunnel::PortForward};

/// How long radar may take to look.
const LIMIT: Duration = Duration::from_secs(10);

/// Whether `path` of a container could be attached, as its node's radar sees it, and whether we may exec into the container,
/// which is what that takes. The session for that is over with it, and a key of its own keeps it apart from the watcher's.
pub(crate) async fn look(
    client: &Client,
    container: &RemoteContainer,
    path: &str,
) -> Result<LookReply, Error> {
    let identity = SessionIdentity::for_now()?;
    // No file goes over this link.
    let spool = Arc::new(Spool::new(LargeFile::default()));
    let tunnel = PortForward::new(client.clone(), &container.node);
    let (link, _session) = link::connect(&*tunnel, &identity, true, &spool).await?;
    match Prover::new(client.clone()).prove(&link, container).await {
        Ok(_) => {}
        Err(CallError::Refused(reason) | CallError::Exec(reason)) => return Ok(LookReply::Refused(reason)),
        Err(error) => return Err(Error::Unproved(error)),
    }
    let request = LookRequest { container: Some(wire::container(container)), path: path.to_owned() };
    match tokio::time::timeout(LIMIT, link.radar.clone().look(request)).await {
        Ok(Ok(_)) => Ok(LookReply::Attachable),
        Ok(Err(refusal)) => Ok(LookReply::Refused(refusal.message().to_owned())),
        Err(_) => Err(Error::Slow { call: "Look", limit: LIMIT }),
    }
}
