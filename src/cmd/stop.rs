//! `stop`: ends the context's watcher in good order.

use std::process::ExitCode;

use super::ensure;
use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    home::Home,
    printer::Printer,
};

/// Runs `stop`.
pub async fn run(cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let (home, cluster) = (Home::from_env()?, ClusterConfig::load(cluster).await?);
    if ensure::stopped(&home.context(&cluster.context, &cluster.hash())).await? {
        printer.data(format!("the watcher for context `{}` has ended", cluster.context));
    } else {
        printer.say(format!("no watcher runs for context `{}`", cluster.context));
    }
    Ok(ExitCode::SUCCESS)
}
