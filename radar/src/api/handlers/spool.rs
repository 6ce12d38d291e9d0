//! Making the node's end of a session's spool.
//!
//! Invariant: its folders are shared with the device of its session and with no other.

use std::{sync::Arc, time::Duration};

use ksync_proto::radar::{SpoolReply, SpoolRequest};
use syncthing::Device;
use tonic::{Response, Status};

use super::{replies::Reply, validate};
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
    syncthing.ok().and_then(Result::ok).and_then(|syncthing| syncthing.clone()).ok_or_else(|| {
        // UNAVAILABLE is the transport's word for a broken connection.
        Status::failed_precondition(
            "the node's syncthing does not answer: see the log of container `syncthing`",
        )
    })
}

/// Makes the spool, and has syncthing share it.
pub(super) async fn open(
    registry: &Registry,
    spools: &Spools,
    mut syncthing_rx: NodeSyncthingRx,
    request: SpoolRequest,
) -> Reply<SpoolReply> {
    let SpoolRequest { session_id: session, tag } = request;
    validate::tag(&tag)?;
    let hello = || registry.ask(|reply| Command::Hello(session.clone(), reply));
    let mine = hello().await?;
    let syncthing = syncthing(&mut syncthing_rx).await?;
    let turn = syncthing.devices.lock().await;
    let opening = (spools.clone(), session.clone());
    let opened = tokio::task::spawn_blocking(move || opening.0.open(&opening.1, &tag)).await;
    let opened = opened.map_err(|error| Status::internal(format!("make a spool: {error}")))?;
    let Opened { spool, earlier } = opened.map_err(|error| status::from_spool(&error))?;
    if let Some(earlier) = earlier {
        spools.unshare(&session, earlier, &syncthing, &turn).await;
    }
    let device = Device::new(&mine.device, &mine.holder, None);
    syncthing.client.put_device(&device).await.map_err(|error| status::from_syncthing(&error))?;
    let shared = spool.pair.share(&syncthing.client, &mine.device).await;
    // A session that has ended meanwhile knew of no spool.
    if !hello().await.is_ok_and(|now| now.device == mine.device)
        && let Some(spool) = spools.close(&session)
    {
        spools.unshare(&session, spool, &syncthing, &turn).await;
        return Err(Status::aborted("the session has ended"));
    }
    drop(turn);
    shared.map_err(|error| status::from_spool(&error))?;
    Ok(Response::new(SpoolReply {}))
}
