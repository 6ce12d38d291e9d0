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

/// How long another command may take to start the watcher.
const START_LIMIT: Duration = Duration::from_secs(45);
/// How long an ended watcher's process may take to go.
const LIMIT: Duration = Duration::from_secs(10);

/// Starts the context's watcher when none runs, and replaces an older one; a newer one is left alone. Of several commands
/// that do so at once, one starts it and the others wait until it is ready.
/// Says and returns whether one was started.
pub(super) async fn watcher(
    home: &Home,
    args: &ClusterArgs,
    cluster: &ClusterConfig,
    printer: Printer,
) -> anyhow::Result<bool> {
    let dir = home.context(&cluster.context, &cluster.hash());
    if version_of(&dir).await?.is_some_and(|theirs| !version::is_newer(version::OURS, &theirs)) {
        return Ok(false);
    }
    dir.create()?;
    let starting = dir.starting();
    let starting = tokio::task::spawn_blocking(move || Lock::acquire(&starting, START_LIMIT)).await?;
    let _starting =
        starting.map_err(|error| UserError::with_hint(&error, "another command starts the watcher"))?;
    // Another command may have started it since.
    if let Some(theirs) = version_of(&dir).await? {
        if !version::is_newer(version::OURS, &theirs) {
            return Ok(false);
        }
        printer.say(format!("replacing the watcher of version {theirs}"));
        stopped(&dir).await?;
    }
    let context = cluster.context.clone();
    let (home, args, cluster) = (home.clone(), args.clone(), cluster.clone());
    tokio::task::spawn_blocking(move || daemon::spawn(&home, &args, &cluster)).await??;
    printer.say(format!("started the watcher for context `{context}`"));
    Ok(true)
}

/// The version of the watcher that runs; none when none does.
async fn version_of(dir: &ContextDir) -> anyhow::Result<Option<String>> {
    Ok(match Client::connect(&dir.socket()).await? {
        Some(mut client) => Some(client.version().await?.version),
        None => None,
    })
}

/// Tells the watcher of a context, if one runs, that the cluster has just been reached: credentials that it waits for
/// may be there.
pub(super) async fn woken(home: &Home, cluster: &ClusterConfig) {
    let socket = home.context(&cluster.context, &cluster.hash()).socket();
    if let Ok(Some(mut client)) = Client::connect(&socket).await
        && let Err(error) = client.wake().await
    {
        // One that is older than this call looks again by itself.
        tracing::debug!(%error, "wake the watcher");
    }
}

/// Ends the watcher of a context, if one runs, and waits until its process has let go of everything. Returns
/// whether one ran.
pub(super) async fn stopped(dir: &ContextDir) -> anyhow::Result<bool> {
    let client = Client::connect(&dir.socket()).await?;
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
