//! `delete`: takes specs from ksync.yaml; the watcher, if one runs, lets go of their containers.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use anyhow::bail;

use crate::{
    base::BaseFile,
    cluster::{ClusterArgs, ClusterConfig},
    config::{Config, Error, Store},
    home::Home,
    printer::{Printer, UserError},
    speclist::Pins,
    watcher::client::Client,
};

/// How long the watcher may take to let go.
const LIMIT: Duration = Duration::from_secs(20);

/// Flags of `delete`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Specs to delete
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// Delete every spec of this context
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// Runs `delete`.
pub async fn run(args: Args, cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let home = Home::from_env()?;
    // Taking a spec from the file needs no cluster, so a kubeconfig that is broken or gone is no obstacle.
    let context = ClusterConfig::load(cluster).await;
    let store = Store::new(home.config_file());
    let pick = |config: &Config| -> Vec<String> {
        match (&context, args.all) {
            (_, false) => args.names.clone(),
            (Ok(cluster), true) => {
                super::table::specs_of(config, &cluster.context).map(|s| s.name.clone()).collect()
            }
            (Err(_), true) => Vec::new(),
        }
    };
    if let (Err(_), true) = (&context, args.all) {
        context?;
        bail!("no context");
    }
    let (names, lost) = store.modify(|draft| -> anyhow::Result<Vec<String>> {
        let names = pick(draft.config());
        for name in &names {
            if !draft.remove(name)? {
                let known = draft.config().spec.iter().map(|s| s.name.clone()).collect::<Vec<_>>().join(", ");
                let hint = if known.is_empty() {
                    "there are no specs".to_owned()
                } else {
                    format!("specs: {known}")
                };
                return Err(UserError::new(format!("spec `{name}` not found"), hint).into());
            }
        }
        Ok(names)
    })?;
    if lost {
        printer.warn(
            "comments in ksync.yaml could not be kept; the file as it was is beside it as ksync.yaml.bak",
        );
    }
    let pins = Pins::new(home.contexts_dir().join("pins"));
    for name in &names {
        pins.remove(name);
    }
    if let Ok(cluster) = &context {
        let dir = home.context(&cluster.context, &cluster.hash());
        for name in &names {
            BaseFile::forget(&dir.base(), name);
        }
        let socket = dir.socket();
        if let Some(client) = Client::connect(&socket).await {
            let gone: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            if tokio::time::timeout(LIMIT, released(client, &gone)).await.is_err() {
                printer.warn(format!("the watcher has not let go of the containers within {LIMIT:?}"));
            }
        }
    }
    for name in &names {
        printer.data(format!("spec `{name}` deleted"));
    }
    if names.is_empty() {
        printer.say("no specs to delete");
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until the watcher has none of the specs any more, or is gone itself.
async fn released(mut client: Client, names: &BTreeSet<&str>) {
    let Ok(mut states) = client.follow().await else { return };
    while let Ok(Some(state)) = states.message().await {
        if !state.specs.iter().any(|spec| names.contains(spec.name.as_str())) {
            return;
        }
    }
}

impl From<Error> for UserError {
    fn from(error: Error) -> Self {
        Self::with_hint(&error, "")
    }
}
