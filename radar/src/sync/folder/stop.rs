//! Stopping a folder: the order that keeps a directory's end from looking like the deletion of its files.
//!
//! Invariant: a directory is unbound only after its folder is paused, removed, or its syncthing is dead.

use std::{path::Path, time::Duration};

use tokio::task::JoinHandle;

use crate::{container::mount::bind, supervisor::node_syncthing::NodeSyncthing, sync::root_check::LeadRoot};

/// How long syncthing may take to stop a folder before it is killed.
const LIMIT: Duration = Duration::from_secs(5);

/// Pauses the folder the moment that the lead's container ends, whatever its task is busy with.
pub(super) fn pause_at_exit(lead_root: &LeadRoot, folder: &str) -> JoinHandle<()> {
    let (exited, syncthing, folder) =
        (lead_root.lead.life.exited(), lead_root.syncthing.clone(), folder.to_owned());
    tokio::spawn(async move {
        exited.cancelled().await;
        let since = std::time::Instant::now();
        pause(&syncthing, &folder).await;
        tracing::info!(folder, after = ?since.elapsed(), "paused: the container has ended");
    })
}

/// Pauses a folder, or kills syncthing. One that does not exist (yet) is no trouble.
pub(super) async fn pause(syncthing: &NodeSyncthing, folder: &str) {
    let paused = tokio::time::timeout(LIMIT, syncthing.client.pause_folder(folder));
    match tokio::select! {
        biased;
        () = syncthing.lost.cancelled() => return,
        paused = paused => paused,
    } {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_not_found() => {}
        Ok(Err(error)) => {
            tracing::error!(folder, error = &error as &dyn std::error::Error, "pause the folder");
            syncthing.kill();
        }
        Err(_) => syncthing.kill(),
    }
}

/// Pauses, removes, unbinds. Returns when the directory is out of syncthing's view; done twice, it does no harm.
pub(super) async fn stop(lead_root: &LeadRoot, folder: &str) {
    let syncthing = &lead_root.syncthing;
    pause(syncthing, folder).await;
    let deleted = tokio::time::timeout(LIMIT, syncthing.client.delete_folder(folder));
    match tokio::select! {
        biased;
        () = syncthing.lost.cancelled() => Ok(Ok(())),
        deleted = deleted => deleted,
    } {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(folder, error = &error as &dyn std::error::Error, "remove the folder");
            syncthing.kill();
        }
        Err(_) => syncthing.kill(),
    }
    unbind(syncthing, &lead_root.mount_point).await;
}

async fn unbind(syncthing: &NodeSyncthing, mount_point: &Path) {
    if let Err(error) = bind::unbind(syncthing.supervisor_pid, mount_point).await {
        tracing::error!(mount_point = %mount_point.display(), error = &error as &dyn std::error::Error, "unbind");
    }
}
