//! `stop`: ends the context's watcher in good order.

use std::process::ExitCode;

use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    home::Home,
    printer::Printer,
    watcher::client::Client,
};

/// Runs `stop`.
pub async fn run(cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let (home, cluster) = (Home::from_env()?, ClusterConfig::load(cluster).await?);
    let socket = home.context(&cluster.context, &cluster.hash()).socket();
    match Client::connect(&socket).await {
        Some(mut client) => {
            client.stop().await?;
            printer.data(format!("the watcher for context `{}` has ended", cluster.context));
        }
        None => printer.say(format!("no watcher runs for context `{}`", cluster.context)),
    }
    Ok(ExitCode::SUCCESS)
}
