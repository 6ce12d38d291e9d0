//! `delete`: takes specs from ksync.yaml; the watcher, if one runs, lets go of their containers.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::bail;

use super::stignore;
use crate::{
    base::BaseFile,
    cluster::{ClusterArgs, ClusterConfig},
    config::{Config, Error, Store},
    home::Home,
    local::HoldFile,
    lock,
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
    let ((names, local, paths), lost) = store.modify(|draft| -> anyhow::Result<_> {
        let names = pick(draft.config());
        let (local, paths) = alone(draft.config(), &names);
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
        // A broken spec has no path that could be read: it may be one of these.
        let paths = if draft.loaded().errors.is_empty() { paths } else { BTreeSet::new() };
        Ok((names, local, paths))
    })?;
    if lost {
        printer.warn(
            "comments in ksync.yaml could not be kept; the file as it was is beside it as ksync.yaml.bak",
        );
    }
    // First the watchers let go: what they write at the end is not to be left behind.
    let contexts = home.contexts()?;
    let gone: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let mut free = true;
    for dir in contexts.iter().filter(|_| !gone.is_empty()) {
        free &= match Client::connect(&dir.socket()).await {
            Some(client) => tokio::time::timeout(LIMIT, released(client, &gone)).await.is_ok(),
            None => !lock::holder(&dir.lock()).is_some_and(is_alive),
        };
    }
    if !free {
        printer.warn(format!("a watcher has not let go of the containers within {LIMIT:?}"));
    }
    let pins = Pins::new(home.contexts_dir().join("pins"));
    for name in &names {
        pins.remove(name);
        for dir in &contexts {
            BaseFile::forget(&dir.base(), name);
        }
    }
    for (dir, path) in contexts.iter().flat_map(|dir| local.iter().map(move |path| (dir, path))) {
        if let Err(error) = HoldFile::new(&dir.waiting(), path).forget(&names) {
            printer.warn(format!("can't forget what waits in `{}`: {error}", dir.waiting().display()));
        }
    }
    // A watcher that still runs needs the patterns, and removes them itself.
    for path in paths.iter().filter(|_| free) {
        if let Err(error) = stignore::remove_ours(path) {
            printer.warn(format!("can't remove `{}`: {error}", path.join(".stignore").display()));
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

/// The local paths of these specs, and those of them that no other spec uses.
fn alone(config: &Config, names: &[String]) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let of = |deleted: bool| {
        let specs = config.spec.iter().filter(move |spec| names.contains(&spec.name) == deleted);
        specs.map(|spec| PathBuf::from(&spec.localpath)).collect::<BTreeSet<_>>()
    };
    (of(true), &of(true) - &of(false))
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
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

#[cfg(test)]
mod tests {
    use super::alone;
    use crate::config::{Config, SpecDetails};

    #[test]
    fn a_path_that_another_spec_uses_is_left_alone() {
        let spec = |name: &str, path: &str| SpecDetails {
            name: name.into(),
            localpath: path.into(),
            ..SpecDetails::default()
        };
        let config =
            Config { spec: vec![spec("a", "/x"), spec("b", "/x"), spec("c", "/y")], ..Config::default() };
        let told = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            alone(&config, &names).1.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(told(&["a", "c"]), ["/y".as_ref() as &std::path::Path]);
        assert_eq!(told(&["a", "b"]), ["/x".as_ref() as &std::path::Path]);
        assert!(told(&["none"]).is_empty());
    }
}
