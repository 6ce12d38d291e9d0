//! `watch`: the watcher in the foreground, or detached.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use super::ensure;
use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    config::Store,
    home::Home,
    printer::{Printer, ShownEvents, UserError},
    watcher::{
        Watcher,
        daemon::{self, Report},
    },
};
use ksync_common::chain;

/// Flags of `watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run in the background, as `create` does
    #[arg(long)]
    daemon: bool,
}

/// The call of a watcher that detaches from the command that makes it: global flags, the hidden verb, the log's path.
#[derive(Debug, Parser)]
pub(crate) struct Detached {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    #[command(name = daemon::STEP)]
    Watch { log: PathBuf },
}

impl Detached {
    /// None where the hidden verb is no verb: a spec may have the name, too.
    pub(crate) fn of(argv: impl Iterator<Item = OsString>) -> Option<Self> {
        Self::try_parse_from(argv).ok()
    }

    /// Detaches, and runs the watcher. No thread exists yet.
    pub(crate) fn run(self, printer: Printer) -> ExitCode {
        let Step::Watch { log } = self.step;
        match daemon::detach(&log, |report| in_background(&self.cluster, report)) {
            Ok(code) => code,
            Err(error) => {
                let context = format!("detach, with the log `{}`", log.display());
                printer.error(&anyhow::Error::new(error).context(context));
                ExitCode::FAILURE
            }
        }
    }
}

/// Runs `watch`.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let (home, cluster_config) = (Home::from_env()?, ClusterConfig::load(cluster).await?);
    if let Err(error) = cluster_config.ask().await {
        // The watcher begins without credentials, too, and `get` says what it lacks.
        printer.warn(chain(&error));
    }
    if args.daemon {
        let started = ensure::watcher(&home, cluster, &cluster_config, printer).await?;
        if !started {
            ensure::woken(&home, &cluster_config).await;
            printer.say(format!("the watcher for context `{}` runs already", cluster_config.context));
        }
        return Ok(ExitCode::SUCCESS);
    }
    log_to_stderr(&home);
    let context = cluster_config.context.clone();
    let ready = || printer.say(format!("watching context `{context}`; end with Ctrl-C"));
    work(home, cluster_config, ready).await?;
    Ok(ExitCode::SUCCESS)
}

async fn work(home: Home, cluster: ClusterConfig, ready: impl FnOnce()) -> anyhow::Result<()> {
    let watcher = Watcher { home, cluster };
    watcher.run(ready).await.map_err(|error| UserError::with_hint(&error, error.hint()).into())
}

fn in_background(args: &ClusterArgs, report: Report) -> ExitCode {
    let mut report = Some(report);
    ksync_tree::share_memory();
    let result = (|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        crate::tls::install();
        let home = Home::from_env()?;
        log_to_stderr(&home);
        let result = runtime.block_on(async {
            let cluster = ClusterConfig::load(args).await?;
            let ready = || {
                if let Some(report) = report.take() {
                    report.ready();
                }
            };
            work(home, cluster, ready).await
        });
        runtime.shutdown_background();
        result
    })();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(error.as_ref()), "the watcher ends");
            if let Some(report) = report.take() {
                report.failed(&Printer::error_text(&super::explained(error)));
            }
            ExitCode::FAILURE
        }
    }
}

/// RUST_LOG, else the `log-level` of ksync.yaml, else info.
fn log_to_stderr(home: &Home) {
    let level =
        Store::new(home.config_file()).load().map(|loaded| loaded.config.log_level).unwrap_or_default();
    let level = if level.is_empty() { "info".to_owned() } else { level };
    let ours = || EnvFilter::try_new(format!("warn,kubectl_ksync={level},syncthing={level}"));
    let filter =
        EnvFilter::try_from_default_env().or_else(|_| ours()).unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call in one process (tests) keeps the first one's.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| ShownEvents(std::io::stderr()))
        // They would be told on stderr again, and where that is a log on a full disk, telling them panics.
        .log_internal_errors(false)
        .with_ansi(false)
        .try_init();
}

/// The step between fork and exec of the local syncthing: parent's pid, program, home. Returns only on failure.
pub(crate) fn become_syncthing(args: impl Iterator<Item = OsString>, printer: Printer) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let text = |at: usize| args.get(at).map_or(OsStr::new(""), OsString::as_os_str);
    let parent = text(0).to_str().and_then(|pid| pid.parse().ok()).unwrap_or_default();
    let error = syncthing::become_syncthing(parent, Path::new(text(1)), Path::new(text(2)));
    printer.error(&anyhow::Error::new(error).context(format!("run `{}`", Path::new(text(1)).display())));
    ExitCode::FAILURE
}
