//! `clean`: takes away what `init` has made, and with `--local` what the watchers have. Directories that were synced are
//! never touched, here or there; `ksync.yaml` and what was kept of replaced files only with `--all`. Run twice, it is
//! fine.

use std::{fs, io, path::Path, process::ExitCode, time::Duration};

use anyhow::Context;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client as KubeClient,
    api::{DeleteParams, ListParams, PropagationPolicy},
};
use tokio::time::Instant;

use super::ensure;
use crate::{
    cluster::{self, ClusterArgs, ClusterConfig, explain},
    home::Home,
    lock,
    printer::{Printer, UserError},
    tunnel::{NAMESPACE, SELECTOR},
};

const POLL: Duration = Duration::from_millis(300);

/// Flags of `clean`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove the watchers' state too: of all contexts on this machine, ending the watchers that run
    #[arg(long)]
    local: bool,
    /// With --local: also ksync.yaml and what was kept of replaced and deleted files
    #[arg(long, requires = "local")]
    all: bool,
    /// How long to wait until all is gone
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = cluster::parse_duration)]
    timeout: Duration,
}

/// Runs `clean`.
pub(crate) async fn run(
    args: Args,
    cluster_args: &ClusterArgs,
    printer: Printer,
) -> anyhow::Result<ExitCode> {
    let home = Home::from_env()?;
    let cluster = match ClusterConfig::load(cluster_args).await {
        Ok(cluster) => Some(cluster),
        // What is here can go without a cluster.
        Err(error) if args.local => {
            printer.warn(format!("the cluster is left alone: {}", ksync_common::chain(&error)));
            None
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(cluster) = &cluster {
        // The watcher goes first: it detaches in good order while radar is still there.
        let dir = home.context(&cluster.context, &cluster.hash());
        if ensure::stopped(&dir).await? {
            printer.say("the watcher has ended");
        }
    }
    let remote = match &cluster {
        Some(cluster) => remote(cluster, args.timeout, printer).await,
        None => Ok(()),
    };
    if args.local {
        local(&home, args.all, printer).await?;
    }
    remote?;
    if !args.local {
        programs(&home, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes the syncthing that `init` has put here, unless a watcher of another context has it.
fn programs(home: &Home, printer: Printer) -> anyhow::Result<()> {
    let bin = home.bin_dir();
    if fs::symlink_metadata(&bin).is_err() {
        return Ok(());
    }
    let shown = bin.display();
    if home.contexts()?.iter().any(|dir| lock::is_held(&dir.lock())) {
        printer.say(format!("kept `{shown}`: a watcher of another context runs the syncthing in it"));
        return Ok(());
    }
    remove(&bin)?;
    printer.say(format!("removed `{shown}`; `kubectl ksync init` fetches syncthing again"));
    Ok(())
}

/// Removes radar and its namespace, and waits until they are gone.
async fn remote(cluster: &ClusterConfig, limit: Duration, printer: Printer) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    let deadline = Instant::now() + limit;
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let policy =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    let had_set = deleted(cluster, sets.delete("ksync", &policy)).await?;
    if had_set {
        printer.say(
            "radar is shared: nobody can sync with this cluster until `kubectl ksync init` is run again",
        );
        // radar unbinds what it holds while its pods end; the namespace's removal would not wait for that.
        gone(cluster, deadline, "radar's pods", || pods_left(&client)).await?;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let had_namespace = deleted(cluster, namespaces.delete(NAMESPACE, &DeleteParams::default())).await?;
    if had_namespace {
        printer.say("waiting until namespace `ksync-system` is gone");
        gone(cluster, deadline, "namespace `ksync-system`", || async {
            Ok(namespaces.get_opt(NAMESPACE).await?.is_some())
        })
        .await?;
    }
    if had_set || had_namespace {
        printer.data(format!("radar removed from the cluster of context `{}`", cluster.context));
    } else {
        printer.data(format!("nothing of ksync is in the cluster of context `{}`", cluster.context));
    }
    Ok(())
}

async fn pods_left(client: &KubeClient) -> kube::Result<bool> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    Ok(!pods.list(&ListParams::default().labels(SELECTOR)).await?.items.is_empty())
}

/// Whether there was something to delete.
async fn deleted<T>(
    cluster: &ClusterConfig,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<bool, UserError> {
    match cluster.call_raw(call).await? {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        // It is on its way out already.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(true),
        Err(error) => Err(explain(&error, &cluster.server)),
    }
}

async fn gone<F: Future<Output = kube::Result<bool>>>(
    cluster: &ClusterConfig,
    deadline: Instant,
    what: &str,
    left: impl Fn() -> F,
) -> Result<(), UserError> {
    while cluster.call(left()).await? {
        if Instant::now() >= deadline {
            let hint =
                "run `kubectl ksync clean` again; `kubectl -n ksync-system get all` shows what is left";
            return Err(UserError::new(format!("{what} did not go away in time"), hint));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Removes this machine's state: of every context, its watcher ended first.
async fn local(home: &Home, all: bool, printer: Printer) -> anyhow::Result<()> {
    let mut kept = Vec::new();
    for context in home.contexts()? {
        if ensure::stopped(&context).await? {
            printer.say("the watcher has ended");
        }
        let keep = !all && fs::read_dir(context.kept()).is_ok_and(|mut entries| entries.next().is_some());
        if keep {
            for entry in fs::read_dir(context.path())
                .with_context(|| format!("read `{}`", context.path().display()))?
            {
                let path = entry?.path();
                if path != context.kept() {
                    remove(&path)?;
                }
            }
            kept.push(context.kept());
        } else {
            remove(context.path())?;
        }
        for socket in [context.socket(), context.syncthing_socket()] {
            // Only a long home has its sockets in a directory of their own.
            if let Some(dir) = socket.parent().filter(|dir| *dir != context.path()) {
                remove(dir)?;
            }
        }
    }
    if kept.is_empty() {
        remove(home.contexts_dir())?;
    }
    remove(&home.bin_dir())?;
    if all {
        let config = home.config_file();
        for suffix in ["", ".lock", ".bak"] {
            let mut path = config.clone().into_os_string();
            path.push(suffix);
            remove(Path::new(&path))?;
        }
    }
    printer.data(format!("local state removed from `{}`", home.root().display()));
    for dir in kept {
        printer.say(format!(
            "kept `{}`: files that were replaced or deleted; `--all` removes it",
            dir.display()
        ));
    }
    if !all && home.config_file().exists() {
        printer.say(format!("kept `{}`; `--all` removes it", home.config_file().display()));
    }
    Ok(())
}
/// Removes a file or a tree of our own; nothing there is fine. Symlinks are removed, not followed.
fn remove(path: &Path) -> anyhow::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
