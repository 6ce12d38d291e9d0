//! Stopping a folder: the order that keeps a directory's end from looking like the deletion of its files.
//!
//! Invariant: a directory is unbound only after its folder is paused, removed, or its syncthing is dead.

use std::{path::Path, time::Duration};

use tokio::task::JoinHandle;

use crate::{container::mount::bind, supervisor::node_syncthing::Link, sync::root_check::Ground};

/// How long syncthing may take to stop a folder before it is killed.
const LIMIT: Duration = Duration::from_secs(5);

/// Pauses the folder the moment that the lead's container ends, whatever its task is busy with.
pub(super) fn guard(ground: &Ground, folder: &str) -> JoinHandle<()> {
    let (exited, link, folder) = (ground.lead.life.exited(), ground.link.clone(), folder.to_owned());
    tokio::spawn(async move {
        exited.cancelled().await;
        let since = std::time::Instant::now();
        pause(&link, &folder).await;
        tracing::info!(folder, after = ?since.elapsed(), "paused: the container has ended");
    })
}

/// Pauses a folder, or kills syncthing. One that does not exist (yet) is no trouble.
pub(super) async fn pause(link: &Link, folder: &str) {
    let paused = tokio::time::timeout(LIMIT, link.client.pause_folder(folder));
    match tokio::select! {
        biased;
        () = link.lost.cancelled() => return,
        paused = paused => paused,
    } {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_not_found() => {}
        Ok(Err(error)) => {
            tracing::error!(folder, error = &error as &dyn std::error::Error, "pause the folder");
            link.kill();
        }
        Err(_) => link.kill(),
    }
}

/// Pauses, removes, unbinds. Returns when the directory is out of syncthing's view; done twice, it does no harm.
pub(super) async fn folder(ground: &Ground, folder: &str) {
    let link = &ground.link;
    pause(link, folder).await;
    let deleted = tokio::time::timeout(LIMIT, link.client.delete_folder(folder));
    match tokio::select! {
        biased;
        () = link.lost.cancelled() => Ok(Ok(())),
        deleted = deleted => deleted,
    } {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(folder, error = &error as &dyn std::error::Error, "remove the folder");
            link.kill();
        }
        Err(_) => link.kill(),
    }
    unbind(link, &ground.place).await;
}

async fn unbind(link: &Link, place: &Path) {
    if let Err(error) = bind::unbind(link.guardian, place).await {
        tracing::error!(place = %place.display(), error = &error as &dyn std::error::Error, "unbind");
    }
}
