//! `version`: of this program, of the watcher, and of radar on each node.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};

use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    home::Home,
    printer::Printer,
    tunnel,
    watcher::client::Client,
};

/// How long the cluster is waited for: a version is asked for when something is wrong.
const LIMIT: Duration = Duration::from_secs(5);

/// Flags of `version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this program's version; asks nobody
    #[arg(long)]
    client: bool,
}

/// Runs `version`.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    printer.data(format!("kubectl-ksync {}", env!("CARGO_PKG_VERSION")));
    if args.client {
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = match ClusterConfig::load(cluster).await {
        Ok(cluster) => cluster,
        Err(error) => {
            let why = ksync_common::chain(&error);
            printer.warn(format!("neither the watcher nor radar can be asked: {why}"));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let home = Home::from_env()?;
    let socket = home.context(&cluster.context, &cluster.hash()).socket();
    match Client::connect(&socket).await? {
        Some(mut client) => {
            let version = client.version().await?;
            printer.data(format!("watcher {} (process {})", version.version, version.pid));
        }
        None => printer.data("watcher not running"),
    }
    let client = match cluster.client().await {
        Ok(client) => client,
        Err(error) => {
            printer.warn(ksync_common::chain(&error));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let found = tokio::time::timeout(LIMIT, radars(client, &cluster)).await;
    if matches!(found, Ok(Ok(_))) {
        super::ensure::woken(&home, &cluster).await;
    }
    match found {
        Ok(Ok(found)) if found.is_empty() => printer.data("radar not installed"),
        Ok(Ok(found)) => {
            for (version, nodes) in found {
                printer.data(format!("radar {version} on {}", nodes.join(", ")));
            }
        }
        Ok(Err(error)) => printer.warn(ksync_common::chain(error.as_ref())),
        Err(_) => printer.warn(format!("the cluster did not answer within {LIMIT:?}")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Nodes by the version of their radar.
async fn radars(
    client: kube::Client,
    cluster: &ClusterConfig,
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let pods: Api<Pod> = Api::namespaced(client, tunnel::NAMESPACE);
    let found = pods.list(&ListParams::default().labels(tunnel::SELECTOR)).await;
    let found = found.map_err(|error| crate::cluster::explain(&error, &cluster.server))?;
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in found {
        let version =
            pod.labels().get("app.kubernetes.io/version").cloned().unwrap_or_else(|| "unknown".to_owned());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        versions.entry(version).or_default().push(node);
    }
    Ok(versions)
}
