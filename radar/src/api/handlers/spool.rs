//! Making the node's end of a session's spool.
//!
//! Invariant: its folders are shared with the person's own device and with no other, by the session's own syncthing.

use std::{sync::Arc, time::Duration};

use ksync_keys::Fingerprint;
use ksync_proto::radar::SpoolReply;
use tonic::Status;

use super::validate;
use crate::{
    api::status,
    supervisor::session_syncthing::{SessionSyncthing, SyncthingRx},
    sync::{
        registry::{Command, Registry},
        spools::{Opened, Spools},
    },
};

/// How long a call waits for the session's syncthing.
const SYNCTHING: Duration = Duration::from_secs(20);

/// One that may be starting.
async fn there(mut syncthing_rx: SyncthingRx) -> Result<Arc<SessionSyncthing>, Status> {
    let syncthing = tokio::time::timeout(SYNCTHING, syncthing_rx.wait_for(Option::is_some)).await;
    syncthing.ok().and_then(Result::ok).and_then(|syncthing| syncthing.clone()).ok_or_else(no_syncthing)
}

/// UNAVAILABLE is the transport's word for a broken connection.
fn no_syncthing() -> Status {
    Status::failed_precondition(
        "your syncthing on the node does not answer: see the log of container `syncthing`",
    )
}

/// The syncthing of a session that has asked for a spool.
pub(super) async fn running(spools: &Spools, person: Fingerprint) -> Result<Arc<SessionSyncthing>, Status> {
    there(spools.running(person).ok_or_else(no_syncthing)?).await
}

/// Makes the spool of `person`, and has a syncthing share it.
pub(super) async fn open(
    person: Fingerprint,
    registry: Registry,
    spools: Spools,
    tag: String,
) -> Result<SpoolReply, Status> {
    validate::tag(&tag)?;
    registry.ask(|reply| Command::Holder(person, reply)).await?;
    let failed = |error| status::from_spools(&error);
    let syncthing = there(spools.syncthing(person, &registry.holding().await).map_err(failed)?).await?;
    let opening = tokio::task::spawn_blocking(move || spools.open(person, &tag)).await;
    let opened = opening.map_err(|error| Status::internal(format!("make a spool: {error}")))?;
    let Opened { spool, earlier } = opened.map_err(failed)?;
    if let Some(earlier) = earlier {
        if let Err(error) = earlier.pair.unshare(&syncthing.client).await {
            tracing::warn!(error = ksync_common::chain(&error), %person, "take a spool from syncthing");
        }
        // Its directory goes with it.
        tokio::task::spawn_blocking(move || drop(earlier));
    }
    let shared = spool.pair.share(&syncthing.client, &person.device_id()).await;
    shared.map_err(|error| status::from_spool(&error))?;
    Ok(SpoolReply {})
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn whose_session_has_ended_gets_neither_spool_nor_syncthing() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Spools::below(dir.path().join("sessions"), dir.path().join("lifeline"));
        let registry = Registry::spawn(spools.clone());
        let person = Fingerprint::of(b"s");
        let refused = open(person, registry, spools.clone(), "1".into()).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(spools.find(person).is_none() && spools.running(person).is_none());
        assert!(!dir.path().join("sessions").exists());
        assert_eq!(running(&spools, person).await.unwrap_err().code(), Code::FailedPrecondition);
    }
}
