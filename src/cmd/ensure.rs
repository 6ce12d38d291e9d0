//! Making sure that a watcher of at least this version runs.

use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    home::Home,
    printer::Printer,
    version,
    watcher::{client::Client, daemon},
};

/// Starts the context's watcher when none runs, and replaces an older one; a newer one is left alone.
/// Returns whether one was started.
pub(super) async fn watcher(
    home: &Home,
    args: &ClusterArgs,
    cluster: &ClusterConfig,
    printer: Printer,
) -> anyhow::Result<bool> {
    let socket = home.context(&cluster.context, &cluster.hash()).socket();
    if let Some(mut client) = Client::connect(&socket).await {
        let theirs = client.version().await?.version;
        if !version::is_newer(version::OURS, &theirs) {
            return Ok(false);
        }
        printer.say(format!("replacing the watcher of version {theirs}"));
        client.stop().await?;
    }
    let (home, args, cluster) = (home.clone(), args.clone(), cluster.clone());
    tokio::task::spawn_blocking(move || daemon::spawn(&home, &args, &cluster)).await??;
    Ok(true)
}
