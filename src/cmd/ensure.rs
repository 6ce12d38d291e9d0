//! Making sure that a watcher of at least this version runs.

use std::time::Duration;

use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    home::{ContextDir, Home},
    lock::Lock,
    printer::{Printer, UserError},
    version,
    watcher::{client::Client, daemon},
};

/// How long an ended watcher's process may take to go.
const LIMIT: Duration = Duration::from_secs(10);

/// Starts the context's watcher when none runs, and replaces an older one; a newer one is left alone.
/// Says and returns whether one was started.
pub(super) async fn watcher(
    home: &Home,
    args: &ClusterArgs,
    cluster: &ClusterConfig,
    printer: Printer,
) -> anyhow::Result<bool> {
    let dir = home.context(&cluster.context, &cluster.hash());
    let socket = dir.socket();
    if let Some(mut client) = Client::connect(&socket).await {
        let theirs = client.version().await?.version;
        if !version::is_newer(version::OURS, &theirs) {
            return Ok(false);
        }
        printer.say(format!("replacing the watcher of version {theirs}"));
        drop(client);
        stopped(&dir).await?;
    }
    let context = cluster.context.clone();
    let (home, args, cluster) = (home.clone(), args.clone(), cluster.clone());
    tokio::task::spawn_blocking(move || daemon::spawn(&home, &args, &cluster)).await??;
    printer.say(format!("started the watcher for context `{context}`"));
    Ok(true)
}

/// Ends the watcher of a context, if one runs, and waits until its process has let go of everything. Returns
/// whether one ran.
pub(super) async fn stopped(dir: &ContextDir) -> anyhow::Result<bool> {
    let client = Client::connect(&dir.socket()).await;
    let ran = client.is_some();
    if let Some(mut client) = client {
        client.stop().await?;
    }
    let lock = dir.lock();
    if lock.exists() {
        let free = tokio::task::spawn_blocking(move || Lock::acquire(&lock, LIMIT)).await?;
        let hint = "a watcher runs but does not answer; end that process";
        free.map_err(|error| UserError::with_hint(&error, hint))?;
    }
    Ok(ran)
}
