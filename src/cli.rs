//! What can be typed, and which command it becomes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    cluster::ClusterArgs,
    cmd,
    local::STEP as SYNCTHING_STEP,
    printer::Printer,
    watcher::daemon::STEP as WATCH_STEP,
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
    /// Sync a local directory with a directory of matching containers
    Create(cmd::create::Args),
    /// Stop syncing and forget specs; files stay where they are
    Delete(cmd::delete::Args),
    /// Show what is synced and how it stands
    Get(cmd::get::Args),
    /// Run the watcher of this context (`create` starts it in the background by itself)
    Watch(cmd::watch::Args),
    /// End the watcher of this context; specs stay for the next start
    Stop,
    /// Remove what `init` and the watcher have made; files that were synced stay where they are
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
    let argv: Vec<_> = std::env::args_os().collect();
    if let Some(at) = argv.iter().position(|arg| arg == WATCH_STEP) {
        return cmd::watch::detached(&argv, at, printer);
    }
    let cli = Cli::parse();
    run_async(cli, printer)
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
            printer.error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli, printer: Printer) -> anyhow::Result<ExitCode> {
    let cluster = &cli.cluster;
    match cli.command {
        Verb::Create(args) => cmd::create::run(args, cluster, printer).await,
        Verb::Delete(args) => cmd::delete::run(args, cluster, printer).await,
        Verb::Get(args) => cmd::get::run(args, cluster, printer).await,
        Verb::Watch(args) => cmd::watch::run(args, cluster, printer).await,
        Verb::Stop => cmd::stop::run(cluster, printer).await,
        Verb::Version(args) => cmd::version::run(args, cluster, printer).await,
        Verb::Completion(args) => cmd::completion::run(args, printer),
    }
}

/// The command line's shape, for completion scripts and tests.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }
}
