//! `conflicts`: files that both sides changed. Local content stays in its place; the container's is kept, and listed here
//! until it is restored, dismissed, or too old.

use std::process::ExitCode;

use super::kept::{self as shelf, Output};
use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    home::Home,
    kept::{self, Kind},
    printer::Printer,
};

/// Arguments of `conflicts`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A spec, or the local path of one that was deleted
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Dismiss them: they are not counted any more; `restore` still has what was kept
    #[arg(long, conflicts_with = "output")]
    clear: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Runs `conflicts`.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let (home, cluster) = (Home::from_env()?, ClusterConfig::load(cluster).await?);
    let (_, shelves) = shelf::shelves(&home, &cluster, args.name.as_deref())?;
    if !args.clear {
        shelf::print(&shelves, |kind| kind == Kind::Conflict, args.output, "no conflicts", printer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut count = 0;
    for shelf in &shelves {
        count += shelf.folder.items.iter().filter(|item| item.kind == Kind::Conflict).count();
        kept::dismiss(&shelf.folder.dir)?;
    }
    match count {
        0 => printer.say("no conflicts"),
        1 => printer.data("1 conflict dismissed; `kubectl ksync restore` has what was kept"),
        _ => printer.data(format!("{count} conflicts dismissed; `kubectl ksync restore` has what was kept")),
    }
    Ok(ExitCode::SUCCESS)
}
