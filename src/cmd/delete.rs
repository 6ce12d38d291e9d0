//! `delete`: takes specs from ksync.yaml; the watcher, if one runs, lets go of their containers.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use super::stignore;
use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    config::{Config, Error, Store},
    home::{ContextDir, Home},
    kind::KindFile,
    lock,
    printer::{Printer, UserError},
    speclist::ClusterPins,
    watcher::client::Client,
};

/// How long the watcher may take to let go: of each container as long as a call to its node may take, and what was last
/// in sync is written after that.
const LIMIT: Duration = Duration::from_secs(40);
/// The same for a directory here, once its containers are let go.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Flags of `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Specs to delete
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// Delete every spec of this context; with -n, of that namespace only
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// Which specs are meant.
struct Scope<'a> {
    args: &'a Args,
    /// As given with `-n`.
    namespace: Option<&'a str>,
    /// None when the kubeconfig tells nothing: then only specs by name can be meant.
    cluster: Option<&'a ClusterConfig>,
}

impl Scope<'_> {
    fn names(&self, config: &Config) -> Result<Vec<String>, UserError> {
        let own = self.cluster.map_or("", |cluster| &cluster.own_namespace);
        if let (true, Some(cluster)) = (self.args.all, self.cluster) {
            let specs = super::table::specs_of(config, &cluster.context);
            let here =
                specs.filter(|spec| self.namespace.is_none_or(|n| config.namespace_of(spec, own) == n));
            return Ok(here.map(|spec| spec.name.clone()).collect());
        }
        let named = config.spec.iter().filter(|spec| self.args.names.contains(&spec.name));
        for spec in named {
            let namespace = config.namespace_of(spec, own);
            if let Some(given) = self.namespace.filter(|given| !namespace.is_empty() && *given != namespace) {
                let message = format!("spec `{}` is in namespace `{namespace}`, not in `{given}`", spec.name);
                return Err(UserError::new(message, format!("give `-n {namespace}`, or no `-n` at all")));
            }
        }
        Ok(self.args.names.clone())
    }
}

/// Runs `delete`.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let home = Home::from_env()?;
    // Taking a spec from the file needs no cluster, so a kubeconfig that is broken or gone is no obstacle.
    let context = ClusterConfig::load(cluster).await;
    let store = Store::new(home.config_file());
    let context = match context {
        Err(error) if args.all => return Err(error.into()),
        other => other.ok(),
    };
    let namespace = cluster.namespace.as_deref().filter(|name| !name.is_empty());
    let scope = Scope { args: &args, namespace, cluster: context.as_ref() };
    let ((names, paths), lost) = store.modify(|draft| -> anyhow::Result<_> {
        let names = scope.names(draft.config())?;
        let paths = alone(draft.config(), &names);
        for name in &names {
            if !draft.remove(name)? {
                let known = draft.config().spec.iter().map(|spec| spec.name.as_str());
                return Err(super::not_found(name, known).into());
            }
        }
        // A broken spec has no path that could be read: it may be one of these.
        let paths = if draft.loaded().errors.is_empty() { paths } else { BTreeSet::new() };
        Ok((names, paths))
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
        free &= match Client::connect(&dir.socket()).await? {
            Some(client) => tokio::time::timeout(LIMIT, released(client, &gone, dir)).await.is_ok(),
            None => !lock::is_held(&dir.lock()),
        };
    }
    if !free {
        printer.warn(format!("a watcher has not let go of the containers within {LIMIT:?}"));
    }
    let pins = ClusterPins::new(home.contexts_dir().join("pins"));
    for name in &names {
        pins.remove(name);
        for dir in &contexts {
            KindFile::forget(&dir.kinds(), name);
        }
    }
    // A watcher that still runs needs the patterns, and removes them itself.
    for path in paths.iter().filter(|_| free) {
        let left = match tokio::time::timeout(CLOSE_LIMIT, swept(path)).await {
            Ok(swept) => swept.err().map(|error| format!("can't {}", ksync_common::chain(error.as_ref()))),
            Err(_) => Some(format!("a watcher still has it after {CLOSE_LIMIT:?}")),
        };
        if let Some(why) = left {
            printer.warn(format!("something of ours is left in `{}`: {why}", path.display()));
        }
    }
    for name in &names {
        printer.data(format!("spec `{name}` deleted"));
    }
    if names.is_empty() {
        let place = namespace.map(|name| format!(" in namespace `{name}`")).unwrap_or_default();
        printer.say(format!("no specs to delete{place}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The local paths of these specs, and those of them that no other spec uses.
fn alone(config: &Config, names: &[String]) -> BTreeSet<PathBuf> {
    let of = |deleted: bool| {
        let specs = config.spec.iter().filter(move |spec| names.contains(&spec.name) == deleted);
        specs.map(|spec| PathBuf::from(&spec.localpath)).collect::<BTreeSet<_>>()
    };
    &of(true) - &of(false)
}

/// Removes what is ours once the watcher, which lets go of containers first, has closed the directory.
async fn swept(path: &Path) -> anyhow::Result<()> {
    while !stignore::sweep(path)? {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until the watcher has none of the specs any more, or is gone itself. One that does not answer is asked again.
async fn released(client: Client, names: &BTreeSet<&str>, dir: &ContextDir) {
    let mut known = Some(client);
    loop {
        if let Some(mut client) = known.take()
            && let Ok(mut states) = client.follow().await
        {
            while let Some(state) = states.next().await {
                if !state.specs.iter().any(|spec| names.contains(spec.name.as_str())) {
                    return;
                }
            }
        }
        if !lock::is_held(&dir.lock()) {
            return;
        }
        tokio::time::sleep(LOOK).await;
        known = Client::connect(&dir.socket()).await.ok().flatten();
    }
}

impl From<Error> for UserError {
    fn from(error: Error) -> Self {
        Self::with_hint(&error, "")
    }
}

#[cfg(test)]
mod tests {
    use ksync_tree::STIGNORE_HEADER;

    use super::{LOOK, alone, swept};
    use crate::{
        config::{Config, SpecDetails},
        lock::DirLock,
    };

    #[tokio::test]
    async fn what_is_ours_goes_when_the_watcher_has_closed_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join(".stignore");
        std::fs::write(&ours, format!("{STIGNORE_HEADER}\n.git\n")).unwrap();
        let held = DirLock::try_acquire(dir.path()).unwrap();
        let mut sweep = std::pin::pin!(swept(dir.path()));
        assert!(tokio::time::timeout(LOOK * 3, &mut sweep).await.is_err(), "a watcher has it");
        drop(held);
        sweep.await.unwrap();
        assert!(!ours.exists());
    }

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
            alone(&config, &names).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(told(&["a", "c"]), ["/y".as_ref() as &std::path::Path]);
        assert_eq!(told(&["a", "b"]), ["/x".as_ref() as &std::path::Path]);
        assert!(told(&["none"]).is_empty());
    }
}
