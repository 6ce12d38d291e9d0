//! What can be typed, and which command it becomes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    cluster::ClusterArgs,
    cmd,
    local::STEP as SYNCTHING_STEP,
    printer::{Printer, UserError},
};

/// Sync a local directory with running containers, both ways, within milliseconds.
///
/// An edit here is in every matching container there; what a container writes comes back. Nothing is
/// installed in the image and no workload is changed.
#[derive(Debug, Parser)]
#[command(name = "kubectl ksync", bin_name = "kubectl ksync", version, disable_help_subcommand = true)]
#[command(max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prepare this machine and the cluster: fetch syncthing, install radar on every node
    Init(cmd::init::Args),
    /// Sync a local directory with a directory of matching containers
    Create(cmd::create::Args),
    /// Stop syncing and forget specs; files stay where they are
    Delete(cmd::delete::Args),
    /// Show what is synced and how it stands
    Get(cmd::get::Args),
    /// Have the app in a spec's containers run the code that is there now
    Reload(cmd::reload::Args),
    /// List what containers have deleted or replaced here, or put it back
    Restore(cmd::restore::Args),
    /// List files that both sides changed
    Conflicts(cmd::conflicts::Args),
    /// Agree to what a spec waits for: a container's mass deletion, a large first pull, what comes only on your word
    Accept(cmd::answer::Args),
    /// Refuse it: the files are put back into the container, or left there
    Decline(cmd::answer::Args),
    /// Run the watcher of this context (`create` starts it in the background by itself)
    Watch(cmd::watch::Args),
    /// End the watcher of this context; specs stay for the next start
    Stop,
    /// Remove what `init` has made, there and here; files that were synced stay where they are
    Clean(cmd::clean::Args),
    /// Print the versions of this program, its watcher, and radar
    Version(cmd::version::Args),
    /// Print the completion script for a shell
    Completion(cmd::completion::Args),
}

/// Runs the program and returns its exit status.
pub fn main() -> ExitCode {
    let printer = Printer::default();
    let mut args = std::env::args_os();
    if let Some(step) = args.nth(1).filter(|step| step == SYNCTHING_STEP) {
        drop(step);
        return cmd::watch::become_syncthing(args, printer);
    }
    if let Some(detached) = cmd::watch::Detached::of(std::env::args_os()) {
        return detached.run(printer);
    }
    match Cli::try_parse() {
        Ok(cli) => run_async(cli, printer),
        Err(error) => unparsed(&error, printer),
    }
}

/// Help and version as they were asked for; anything else is one sentence and where to read on.
fn unparsed(error: &clap::Error, printer: Printer) -> ExitCode {
    use clap::error::ErrorKind;
    let text = error.render();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        printer.raw(text.ansi());
        return ExitCode::SUCCESS;
    }
    let text = text.to_string();
    // What comes after the first empty line or the usage is for reading at leisure.
    let words: Vec<&str> = text
        .lines()
        .take_while(|line| !line.is_empty() && !line.starts_with("Usage:"))
        .map(|line| line.trim().trim_start_matches("error: "))
        .collect();
    let verb = std::env::args().skip(1).find(|arg| command().find_subcommand(arg).is_some());
    let help =
        verb.map_or_else(|| "kubectl ksync --help".to_owned(), |verb| format!("kubectl ksync {verb} --help"));
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).map(|tip| format!("{tip}; "));
    let hint = format!("{}see `{help}`", tip.unwrap_or_default());
    printer.error(&UserError::new(words.join(" "), hint).into());
    ExitCode::FAILURE
}

fn run_async(cli: Cli, printer: Printer) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.error(&anyhow::Error::new(error).context("start the async runtime"));
            return ExitCode::FAILURE;
        }
    };
    crate::tls::install();
    let result = runtime.block_on(dispatch(cli, printer));
    // A blocking call that nobody waits for any more must not hold the command.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            printer.error(&cmd::explained(error));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli, printer: Printer) -> anyhow::Result<ExitCode> {
    let cluster = &cli.cluster;
    match cli.command {
        Verb::Init(args) => cmd::init::run(args, cluster, printer).await,
        Verb::Clean(args) => cmd::clean::run(args, cluster, printer).await,
        Verb::Create(args) => cmd::create::run(args, cluster, printer).await,
        Verb::Delete(args) => cmd::delete::run(args, cluster, printer).await,
        Verb::Get(args) => cmd::get::run(args, cluster, printer).await,
        Verb::Reload(args) => cmd::reload::run(args, cluster, printer).await,
        Verb::Restore(args) => cmd::restore::run(args, cluster, printer).await,
        Verb::Conflicts(args) => cmd::conflicts::run(args, cluster, printer).await,
        Verb::Accept(args) => cmd::answer::run(args, true, cluster, printer).await,
        Verb::Decline(args) => cmd::answer::run(args, false, cluster, printer).await,
        Verb::Watch(args) => cmd::watch::run(args, cluster, printer).await,
        Verb::Stop => cmd::stop::run(cluster, printer).await,
        Verb::Version(args) => cmd::version::run(args, cluster, printer).await,
        Verb::Completion(args) => Ok(cmd::completion::run(args, command(), printer)),
    }
}

/// The command line's shape, for completion scripts and tests.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }
}
