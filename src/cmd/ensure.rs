//! Making sure that a watcher of at least this version runs.

use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    home::Home,
    printer::Printer,
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
        if !is_older(&theirs, env!("CARGO_PKG_VERSION")) {
            return Ok(false);
        }
        printer.say(format!("replacing the watcher of version {theirs}"));
        client.stop().await?;
    }
    let (home, args, cluster) = (home.clone(), args.clone(), cluster.clone());
    tokio::task::spawn_blocking(move || daemon::spawn(&home, &args, &cluster)).await??;
    Ok(true)
}

/// Whether version `a` comes before `b`. What can't be read counts as older: it is not one of ours.
pub(super) fn is_older(a: &str, b: &str) -> bool {
    let parse = |text: &str| -> Option<Vec<u64>> {
        let release = text.trim_start_matches('v').split(['-', '+']).next()?;
        release.split('.').map(|number| number.parse().ok()).collect()
    };
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a < b,
        (None, _) => true,
        (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_older;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_older("0.9.9", "0.10.0"));
        assert!(!is_older("0.10.0", "0.10.0"));
        assert!(!is_older("1.0.0", "0.10.0"));
        assert!(is_older("", "0.1.0"));
    }
}
