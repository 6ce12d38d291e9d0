//! `completion`: the script that a shell loads.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::printer::Printer;

/// Flags of `completion`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `completion` for the shape of a command line.
pub(crate) fn run(args: Args, mut command: clap::Command, printer: Printer) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "kubectl-ksync", &mut script);
    printer.raw(String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
