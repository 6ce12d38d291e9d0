//! The command line: which of radar's parts this process is.
//!
//! Invariant: a process that is to become syncthing has one thread. Whichever it is, it can gain no power by what it executes.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use tracing_subscriber::EnvFilter;

use crate::{
    api::{probe, serve},
    paths::Paths,
    supervisor::{confine, parent},
};
use ksync_common::chain;

/// The agent of kubectl-ksync on each node.
#[derive(Debug, Parser)]
#[command(name = "radar", version)]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Serves the watchers' calls
    Serve {
        #[command(flatten)]
        paths: Paths,
        /// Where to listen
        #[arg(long, env = "KSYNC_RADAR", default_value = "127.0.0.1:40321")]
        listen: SocketAddr,
        /// Root directory of the node
        #[arg(long, env = "KSYNC_HOST_ROOT", default_value = "/proc/1/root")]
        host: PathBuf,
    },
    /// Starts a syncthing for each session, as its parent
    Syncthing {
        #[command(flatten)]
        paths: Paths,
        /// The program
        #[arg(long, env = "KSYNC_SYNCTHING", default_value = "/syncthing")]
        syncthing: PathBuf,
    },
    /// Asks the radar of this pod whether it is well
    Probe {
        /// Where it listens
        #[arg(long, env = "KSYNC_RADAR", default_value = "127.0.0.1:40321")]
        listen: SocketAddr,
        /// Whether syncthing has to be there too
        #[arg(long)]
        ready: bool,
    },
    #[command(name = parent::BECOME_SYNCTHING, hide = true)]
    BecomeSyncthing { binary: PathBuf, home: PathBuf, spools: PathBuf },
}

/// Runs the part that the command line names.
pub(crate) fn run() -> ExitCode {
    let part = Cli::parse().part;
    let filter = EnvFilter::try_from_env("KSYNC_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    if let Err(error) = less_power(&part) {
        // Without stderr there is nobody to tell.
        drop(writeln!(std::io::stderr(), "error: {error}"));
        return ExitCode::FAILURE;
    }
    let result = match part {
        Part::Serve { paths, listen, host } => {
            on_worker_threads(async move { serve::run(paths, listen, &host).await.map_err(|e| chain(&e)) })
        }
        Part::Syncthing { paths, syncthing } => parent_of_syncthings(&paths, &syncthing),
        Part::Probe { listen, ready } => on_worker_threads(async move {
            let said = probe::run(listen, ready).await.map_err(|e| chain(&e))?;
            writeln!(std::io::stdout(), "{said}").map_err(|e| format!("write to stdout: {e}"))
        }),
        Part::BecomeSyncthing { binary, home, spools } => {
            let error = confine::become_syncthing(&binary, &home, &spools);
            Err(format!("become `{}`: {}", binary.display(), chain(&error)))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Without stderr there is nobody to tell.
            drop(writeln!(std::io::stderr(), "error: {message}"));
            ExitCode::FAILURE
        }
    }
}

/// What no part needs, and no part gets back: prctl(2), `PR_SET_NO_NEW_PRIVS`; capset(2). While there is one thread: both are of
/// the calling thread, and of those that it starts.
fn less_power(part: &Part) -> Result<(), String> {
    set_no_new_privs(true).map_err(|errno| format!("take no new privileges: {errno}"))?;
    if matches!(part, Part::Probe { .. }) {
        // It asks by the loopback, in the container that has all of radar's.
        let none = CapabilitySet::empty();
        let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
        set_capabilities(None, none).map_err(|errno| format!("drop all capabilities: {errno}"))?;
    }
    Ok(())
}

fn on_worker_threads(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    provide_tls()?;
    ksync_tree::share_memory();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().worker_threads(2).max_blocking_threads(serve::THREADS).build();
    let runtime = runtime.map_err(|error| format!("start the runtime: {error}"))?;
    let result = runtime.block_on(work);
    // A thread that waits for a file system that hangs must not keep the process.
    runtime.shutdown_background();
    result
}

fn parent_of_syncthings(paths: &Paths, binary: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start the runtime: {error}"))?;
    runtime.block_on(parent::run(paths, binary)).map_err(|error| chain(&error))
}

/// The HTTP client wants to know whose TLS it would speak, though it only speaks over a Unix socket.
fn provide_tls() -> Result<(), String> {
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().map_err(|_| "another TLS provider is installed already".to_owned())
}
