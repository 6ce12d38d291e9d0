//! `reload`: has the apps of a spec run the code that is there, by hand.

use std::{process::ExitCode, time::Duration};

use crate::{
    cluster::{self, ClusterArgs, ClusterConfig},
    config::ReloadMode,
    home::Home,
    printer::{Printer, UserError},
    reload::Outcome,
    watcher::client::{Client, Error},
};

/// Most that radar lets an app take.
const LONGEST_GRACE: Duration = Duration::from_secs(60);

/// Flags of `reload`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The spec
    #[arg(value_name = "NAME")]
    name: String,
    /// auto, process, container or signal:NAME, instead of the spec's own mode
    #[arg(long, value_name = "MODE")]
    mode: Option<ReloadMode>,
    /// How long an app that handles SIGTERM may take to end in its own way first, at most 60s
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = cluster::parse_duration)]
    grace: Duration,
}

/// Runs `reload`.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    if args.grace > LONGEST_GRACE {
        let message = format!("`--grace` is {:?}, and at most {LONGEST_GRACE:?}", args.grace);
        return Err(
            UserError::new(message, "an app that takes longer to end is better replaced without it").into()
        );
    }
    let (home, cluster) = (Home::from_env()?, ClusterConfig::load(cluster).await?);
    let socket = home.context(&cluster.context, &cluster.hash()).socket();
    let Some(mut client) = Client::connect(&socket).await? else {
        super::known(&home, &args.name)?;
        let hint = "start one with `kubectl ksync watch --daemon`";
        let context = &cluster.context;
        return Err(UserError::new(format!("no watcher runs for context `{context}`"), hint).into());
    };
    let mode = args.mode.map(|mode| mode.to_string()).unwrap_or_default();
    let containers = client.reload(&args.name, &mode, args.grace).await.map_err(|error| match error {
        // The watcher's own sentence says it all.
        Error::Refused { message, .. } => UserError::new(message, "").into(),
        error @ (Error::Slow { .. } | Error::Foreign { .. }) => anyhow::Error::from(error),
    })?;
    if containers.is_empty() {
        let hint = format!("`kubectl ksync get {}` says how it stands", args.name);
        return Err(UserError::new(format!("no container of spec `{}` is attached", args.name), hint).into());
    }
    let mut failed = Vec::new();
    for container in containers {
        let place = format!("{}/{}", container.pod, container.container);
        match container.outcome {
            Outcome::Reloaded(done) => printer.data(format!("{place} reloaded: {done}")),
            Outcome::LeftAlone(why) => printer.data(format!("{place} left alone: {why}")),
            Outcome::Failed(why) | Outcome::Unknown(why) => {
                failed.push(format!("`{place}` was not reloaded: {why}"));
            }
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(UserError::new(failed.join("; "), "").into())
}
