//! `create`: checks everything that can be checked, writes the spec, makes sure the watcher runs.
//!
//! Nothing is written before all checks are through.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, Client as KubeClient, api::ListParams};

use super::{ensure, stignore};
use crate::{
    cluster::{self, ClusterArgs, ClusterConfig},
    config::{ByteSize, Direction, Initial, Loaded, ReloadMode, SpecDetails, Store, fresh_name, validate},
    home::Home,
    node::{self, LookReply},
    printer::{Printer, UserError},
    reload::Which,
    targets::{RemoteContainer, targets},
    watcher::{self, SpecView, client::Client},
};

/// Flags of `create`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(group = clap::ArgGroup::new("which").required(true).args(["selector", "pod"]))]
pub(crate) struct Args {
    /// Local directory
    local: PathBuf,
    /// Directory in the container, absolute
    remote: String,
    /// Pods with these labels, for example app=app
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// One pod by its name
    #[arg(short, long)]
    pod: Option<String>,
    /// The container, where a pod has several
    #[arg(short, long)]
    container: Option<String>,
    /// The spec's name; two words are made up otherwise
    #[arg(long)]
    name: Option<String>,
    /// How the app is given the new code after each edit: auto (the default), process, container, signal:NAME; false to
    /// leave it alone
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    reload: Option<String>,
    /// Reload only for changes of these paths, in gitignore's syntax (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    reload_on: Vec<String>,
    /// Reload so many containers at a time at most, over all nodes; else all together
    #[arg(long, value_name = "N")]
    reload_max_unavailable: Option<NonZeroUsize>,
    /// Which way changes go
    #[arg(long, value_enum)]
    direction: Option<Direction>,
    /// What wins at the first sync where both sides differ
    #[arg(long, value_enum)]
    initial: Option<Initial>,
    /// Bring here whatever the containers make: repositories, links out of the directory, files of any size
    #[arg(long, conflicts_with_all = ["max_file", "max_pull"])]
    trust_container: bool,
    /// The largest file that comes here without your word, for example 200M; else 50Mi
    #[arg(long, value_name = "SIZE")]
    max_file: Option<ByteSize>,
    /// How much may come here within an hour without your word; else 1Gi
    #[arg(long, value_name = "SIZE")]
    max_pull: Option<ByteSize>,
    /// A further pattern that is not synced (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    /// Take the containers' directory over from whoever else syncs it now
    #[arg(long, conflicts_with = "no_start")]
    take_over: bool,
    /// Write the spec only, start no watcher
    #[arg(long, conflicts_with = "wait")]
    no_start: bool,
    /// Wait until every container holds what is here
    #[arg(long)]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = cluster::parse_duration)]
    timeout: Duration,
}

/// Runs `create`.
pub(crate) async fn run(
    args: Args,
    cluster_args: &ClusterArgs,
    printer: Printer,
) -> anyhow::Result<ExitCode> {
    let home = Home::from_env()?;
    let mut spec = details(&args)?;
    let local = Path::new(&spec.localpath);
    validate::apart(local, &[home.root(), home.contexts_dir()]).map_err(refused)?;
    if !spec.ignore.is_empty() {
        obeyed(local)?;
    }
    stignore::usable(local)?;
    let cluster = ClusterConfig::load(cluster_args).await?;
    spec.context = Some(cluster.context.clone());
    spec.cluster = Some(cluster.hash());
    spec.namespace.clone_from(&cluster.namespace);
    let store = Store::new(home.config_file());
    // Refused early where the file alone tells; looked at again under the lock.
    admit(&mut spec.clone(), args.name.as_deref(), &store.load()?)?;
    let client = cluster.client().await?;
    let (matching, missing) = preflight(&client, &cluster, &spec).await?;
    ensure::woken(&home, &cluster).await;
    if !args.no_start && !home.syncthing().exists() {
        // The watcher would refuse to start, and the spec would be written by then.
        let error = watcher::Error::NoSyncthing { path: home.syncthing() };
        return Err(UserError::with_hint(&error, error.hint()).into());
    }

    let (other, lost) = store.modify(|draft| -> anyhow::Result<Option<String>> {
        admit(&mut spec, args.name.as_deref(), draft.loaded())?;
        let place = (&spec.localpath, &spec.cluster);
        let same = |other: &&SpecDetails| (&other.localpath, &other.cluster) == place;
        let other = draft.loaded().config.spec.iter().find(same).map(|other| other.name.clone());
        draft.add(&spec)?;
        Ok(other)
    })?;
    if lost {
        printer.warn(
            "comments in ksync.yaml could not be kept; the file as it was is beside it as ksync.yaml.bak",
        );
    }
    printer.data(format!("spec `{}` created", spec.name));
    if let Some(missing) = missing {
        printer.warn(missing);
    }
    printer.say(format!(
        "{} -> {} in {matching} of namespace `{}`",
        spec.localpath, spec.remotepath, spec.namespace
    ));
    printer.say(reloads(&spec));
    if let Some(other) = other {
        printer.say(format!(
            "spec `{other}` syncs the same directory: what containers write comes back from one container of all of them"
        ));
    }
    if args.no_start {
        return Ok(ExitCode::SUCCESS);
    }
    ensure::watcher(&home, cluster_args, &cluster, printer).await?;
    if args.take_over {
        let mut client = Client::connect(&socket(&home, &cluster)).await?.ok_or_else(ended)?;
        client.take_over(&spec.name).await?;
    }
    if args.wait {
        let status = wait(&home, &cluster, &spec.name, args.timeout, printer).await?;
        if let Some(service) = status.services.iter().find(|service| service.created) {
            printer.say(format!(
                "`{}` was not in container `{}` of pod `{}`: it was made",
                spec.remotepath, service.container, service.pod
            ));
        }
        if let Some(service) = status.services.iter().find(|service| service.overrides) {
            printer.say(format!(
                "`{}` is written whatever its permissions: it is in the root file system of container `{}` in pod `{}`",
                spec.remotepath, service.container, service.pod
            ));
        }
        for warning in &status.warnings {
            printer.warn(warning);
        }
        let but = if status.warnings.is_empty() { "" } else { " and can be synced" };
        printer.say(format!("every container holds what is here{but}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(invalid: validate::Invalid) -> UserError {
    UserError::new(invalid.message, invalid.hint)
}

/// Refuses `--ignore` where somebody's own patterns stand in for ours.
fn obeyed(local: &Path) -> anyhow::Result<()> {
    match stignore::foreign(local)? {
        Some(path) => Err(UserError::new(
            format!("`--ignore` has no effect beside `{}`, which is in force as it stands", path.display()),
            "add the patterns to that file, or remove it",
        )
        .into()),
        None => Ok(()),
    }
}

fn details(args: &Args) -> anyhow::Result<SpecDetails> {
    if let Some(name) = &args.name {
        validate::name(name).map_err(refused)?;
    }
    ksync_tree::Ignore::new(&args.ignore).map_err(|error| UserError::with_hint(&error, "see --ignore"))?;
    if args.direction == Some(Direction::ToContainer) && args.initial.is_some_and(|i| i != Initial::Local) {
        let hint = "leave one of them out";
        return Err(UserError::new(
            "`--direction to-container` brings nothing here, so only local content can win",
            hint,
        )
        .into());
    }
    let brings = args.trust_container || args.max_file.is_some() || args.max_pull.is_some();
    if args.direction == Some(Direction::ToContainer) && brings {
        let message =
            "`--direction to-container` brings nothing here, so there is nothing to trust or to limit";
        return Err(UserError::new(message, "leave one of them out").into());
    }
    args.selector.as_deref().map_or(Ok(()), validate::selector).map_err(refused)?;
    let (reload, reload_mode) = reload(args.reload.as_deref())?;
    if !reload && (!args.reload_on.is_empty() || args.reload_max_unavailable.is_some()) {
        let message = "`--reload=false` leaves nothing to `--reload-on` and `--reload-max-unavailable`";
        return Err(UserError::new(message, "leave them out").into());
    }
    Which::new(&args.reload_on).map_err(|error| UserError::with_hint(&error, "see --reload-on"))?;
    Ok(SpecDetails {
        name: String::new(),
        containername: args.container.clone().unwrap_or_default(),
        pod: args.pod.clone().unwrap_or_default(),
        selector: args.selector.clone().unwrap_or_default(),
        localpath: validate::local_path(&args.local).map_err(refused)?,
        remotepath: validate::remote_path(&args.remote).map_err(refused)?,
        reload,
        ignore: args.ignore.clone(),
        initial: args.initial,
        direction: args.direction,
        trust_container: args.trust_container,
        max_file: args.max_file,
        max_pull: args.max_pull,
        reload_mode,
        reload_on: args.reload_on.clone(),
        reload_max_unavailable: args.reload_max_unavailable,
        ..SpecDetails::default()
    })
}

fn reload(given: Option<&str>) -> anyhow::Result<(bool, Option<ReloadMode>)> {
    match given {
        None | Some("true") => Ok((true, None)),
        Some("false") => Ok((false, None)),
        Some(mode) => match mode.parse() {
            Ok(mode) => Ok((true, Some(mode))),
            Err(message) => Err(UserError::new(format!("--reload: {message}"), "").into()),
        },
    }
}

/// What becomes of the app after an edit, in a line.
fn reloads(spec: &SpecDetails) -> String {
    if !spec.reload {
        return "the app is not reloaded".to_owned();
    }
    let after = match spec.reload_on.as_slice() {
        [] => "after each edit".to_owned(),
        patterns => format!("after edits of `{}`", patterns.join("`, `")),
    };
    let mode = spec.reload_mode.clone().unwrap_or_default();
    let how = match &mode {
        ReloadMode::Auto => "in place, unless it watches its files itself".to_owned(),
        ReloadMode::Process => "in place".to_owned(),
        ReloadMode::Container => "by a restart of its container".to_owned(),
        ReloadMode::Signal(name) => format!("by SIG{}", name.trim_start_matches("SIG")),
    };
    format!("the app is reloaded {after}, {how} (mode `{mode}`)")
}

/// Names the spec where it has no name yet, and checks it against the others.
fn admit(spec: &mut SpecDetails, name: Option<&str>, loaded: &Loaded) -> anyhow::Result<()> {
    let config = &loaded.config;
    let broken = |name: &str| loaded.errors.iter().find(|error| error.name.as_deref() == Some(name));
    let taken = |name: &str| broken(name).is_some() || config.spec.iter().any(|other| other.name == name);
    spec.name = name.map_or_else(|| fresh_name(taken), str::to_owned);
    if let Some(other) = broken(&spec.name) {
        let hint =
            format!("mend it, give another `--name`, or run `kubectl ksync delete {}` first", spec.name);
        return Err(UserError::new(format!("there is a broken spec of this name: {other}"), hint).into());
    }
    let inherited = validate::Inherited { context: &config.context, namespace: &config.namespace };
    let fits = validate::beside(spec, &config.spec, inherited);
    Ok(fits.map_err(refused)?)
}

/// Looks at the cluster: may pods be read, does radar run in a version that fits, is the container clear?
/// Returns how many containers match, in words, and a sentence when not even a pod does: that is no error, the pods may
/// be made later.
async fn preflight(
    client: &KubeClient,
    cluster: &ClusterConfig,
    spec: &SpecDetails,
) -> anyhow::Result<(String, Option<String>)> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &spec.namespace);
    let which = if spec.selector.is_empty() {
        ListParams::default().fields(&format!("metadata.name={}", spec.pod))
    } else {
        ListParams::default().labels(&spec.selector)
    };
    let (radar, found) =
        tokio::join!(cluster::radar::check(client, cluster), cluster.call_raw(pods.list(&which)));
    radar?;
    let found = match found? {
        Err(kube::Error::Api(refusal)) if refusal.code == 400 && !spec.selector.is_empty() => {
            let message = format!("can't understand the selector `{}`: {}", spec.selector, refusal.message);
            return Err(UserError::new(message, "for example `app=api` or `app=api,tier!=test`").into());
        }
        other => other.map_err(|error| cluster::explain(&error, &cluster.server))?,
    };
    let missing = if found.items.is_empty() { Some(missing(client, cluster, spec).await?) } else { None };
    let found = targets(&found.items, &spec.containername);
    if let Some(error) = found.errors.into_iter().next() {
        return Err(UserError::new(error, "").into());
    }
    if let Some(container) = found.running.first() {
        look(client, container, &spec.remotepath).await?;
    }
    let matching = match found.running.len() {
        0 => "no container yet".to_owned(),
        1 => "1 container".to_owned(),
        many => format!("{many} containers"),
    };
    Ok((matching, missing))
}

/// What is not there yet: a name may be mistyped. Not everyone may look at namespaces; then it is the pod that is not.
async fn missing(
    client: &KubeClient,
    cluster: &ClusterConfig,
    spec: &SpecDetails,
) -> Result<String, UserError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    Ok(match cluster.call_raw(namespaces.get(&spec.namespace)).await? {
        Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
            format!("there is no namespace `{}` in the cluster; the spec waits for it", spec.namespace)
        }
        _ => format!("{} now; the spec waits for one", spec.nobody()),
    })
}

fn ended() -> UserError {
    UserError::new("the watcher has ended", "run `kubectl ksync watch --daemon` to start it again")
}

/// Asks radar whether the path can be attached in one of the containers, which takes that we may exec into it. Where radar
/// can't be asked just now, the watcher will find out, and `get` tells.
async fn look(client: &KubeClient, container: &RemoteContainer, path: &str) -> anyhow::Result<()> {
    match node::look(client, container, path).await {
        Ok(LookReply::Attachable) => Ok(()),
        Ok(LookReply::Refused(reason)) => {
            let message = format!("`{path}` can't be synced in pod `{}`: {reason}", container.pod);
            Err(UserError::new(message, "").into())
        }
        Err(error) => {
            tracing::debug!(%error, "ask radar about the path");
            Ok(())
        }
    }
}

fn socket(home: &Home, cluster: &ClusterConfig) -> PathBuf {
    home.context(&cluster.context, &cluster.hash()).socket()
}

/// Waits for the watcher to say `watching`.
async fn wait(
    home: &Home,
    cluster: &ClusterConfig,
    name: &str,
    limit: Duration,
    printer: Printer,
) -> anyhow::Result<SpecView> {
    let socket = socket(home, cluster);
    let mut last = "the watcher does not know it yet".to_owned();
    let bar = printer.bar("");
    let watching = async {
        let mut client = Client::connect(&socket).await?.ok_or_else(ended)?;
        let mut states = client.follow().await?;
        while let Some(state) = states.next().await {
            let Some(spec) = state.specs.into_iter().find(|spec| spec.name == name) else { continue };
            if spec.status == "watching" {
                return anyhow::Ok(spec);
            }
            // The containers hold what is here; what is asked concerns what only one of them has.
            if spec.status == "confirm" {
                printer.warn(format!("spec `{name}` waits for an answer: {}", spec.reason));
                return Ok(spec);
            }
            last = if spec.reason.is_empty() {
                spec.status
            } else {
                format!("{}: {}", spec.status, spec.reason)
            };
            bar.tell(&last);
        }
        Err(ended().into())
    };
    match tokio::time::timeout(limit, watching).await {
        Ok(result) => result,
        Err(_) => Err(UserError::new(
            format!("spec `{name}` is not in sync after {limit:?} ({last})"),
            "it goes on in the background; `kubectl ksync get` tells how it stands",
        )
        .into()),
    }
}
