//! Making the node's end of a person's spool.
//!
//! Invariant: its folders are shared with the person's own device and with no other.

use std::{sync::Arc, time::Duration};

use ksync_keys::Fingerprint;
use ksync_proto::radar::SpoolReply;
use syncthing::Device;
use tonic::Status;

use super::validate;
use crate::{
    api::status,
    supervisor::node_syncthing::{NodeSyncthing, NodeSyncthingRx},
    sync::{
        registry::{Command, Registry},
        spools::{Opened, Spools},
    },
};

/// How long a call waits for the node's syncthing.
const SYNCTHING: Duration = Duration::from_secs(20);

/// The node's syncthing, which may be starting.
pub(super) async fn syncthing(syncthing_rx: &mut NodeSyncthingRx) -> Result<Arc<NodeSyncthing>, Status> {
    let syncthing = tokio::time::timeout(SYNCTHING, syncthing_rx.wait_for(Option::is_some)).await;
    syncthing.ok().and_then(Result::ok).and_then(|syncthing| syncthing.clone()).ok_or_else(no_syncthing)
}

/// UNAVAILABLE is the transport's word for a broken connection.
pub(super) fn no_syncthing() -> Status {
    Status::failed_precondition("the node's syncthing does not answer: see the log of container `syncthing`")
}

/// Makes the spool of `person`, and has syncthing share it. Given up half-way, it would leave syncthing a folder that is
/// nobody's.
pub(super) async fn open(
    person: Fingerprint,
    registry: Registry,
    spools: Spools,
    mut syncthing_rx: NodeSyncthingRx,
    tag: String,
) -> Result<SpoolReply, Status> {
    validate::tag(&tag)?;
    let syncthing = syncthing(&mut syncthing_rx).await?;
    let turn = syncthing.devices.lock().await;
    // Who ends meanwhile is forgotten after this turn.
    let holder = || registry.ask(|reply| Command::Holder(person, reply));
    let mine = holder().await?;
    let opening = spools.clone();
    let opened = tokio::task::spawn_blocking(move || opening.open(person, &tag)).await;
    let opened = opened.map_err(|error| Status::internal(format!("make a spool: {error}")))?;
    let Opened { spool, earlier } = opened.map_err(|error| status::from_spool(&error))?;
    if let Some(earlier) = earlier {
        spools.unshare(person, earlier, &syncthing, &turn).await;
    }
    let id = person.device_id();
    let device = Device::new(&id, &mine, None);
    syncthing.client.put_device(&device).await.map_err(|error| status::from_syncthing(&error))?;
    let shared = spool.pair.share(&syncthing.client, &id).await;
    // A session that has ended meanwhile knew of no spool.
    if holder().await.is_err()
        && let Some(spool) = spools.close(person)
    {
        spools.unshare(person, spool, &syncthing, &turn).await;
        return Err(Status::aborted("the session has ended"));
    }
    drop(turn);
    shared.map_err(|error| status::from_spool(&error))?;
    Ok(SpoolReply {})
}

#[cfg(test)]
mod tests {
    use std::{io, os::unix::net::UnixListener};

    use tokio::sync::{mpsc, watch};
    use tonic::Code;

    use super::*;
    use crate::sync::session::Hello;

    #[tokio::test]
    async fn whose_session_ends_before_its_turn_is_not_made_known_to_syncthing() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("gui");
        let asked = UnixListener::bind(&socket).unwrap();
        asked.set_nonblocking(true).unwrap();
        let syncthing = Arc::new(NodeSyncthing::at(&socket));
        let (_syncthing_tx, syncthing_rx) = watch::channel(Some(Arc::clone(&syncthing)));
        let spools = Spools::below(dir.path().join("spool"));
        let registry = Registry::spawn(syncthing_rx.clone(), spools.clone());
        let (person, (events_tx, _events_rx)) = (Fingerprint::of(b"s"), mpsc::channel(8));
        let hello = Hello { person, epoch: 1, holder: "u@m".into(), fresh: true };
        registry.ask(|reply| Command::Open(hello, events_tx, reply)).await.unwrap();
        let turn = syncthing.devices.lock().await;
        let opening = open(person, registry.clone(), spools.clone(), syncthing_rx, "1".into());
        tokio::pin!(opening);
        assert!(futures::poll!(&mut opening).is_pending(), "it waits for its turn");
        registry.shutdown().await;
        drop(turn);
        let opened = tokio::time::timeout(Duration::from_secs(5), opening).await.unwrap();
        assert_eq!(opened.unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(asked.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(spools.find(person).is_none());
    }
}
