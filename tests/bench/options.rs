//! What was asked for on the command line.

use clap::Parser;

/// How fast kubectl-ksync is, on the test cluster.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Options {
    /// Only these groups of rows
    #[arg(long, value_delimiter = ',')]
    pub(crate) rows: Vec<String>,
    /// Those too that take very long
    #[arg(long)]
    pub(crate) long: bool,
    /// How often each thing is tried
    #[arg(long)]
    trials: Option<usize>,
    /// Name of the files in target/bench
    #[arg(long, default_value = "bench")]
    pub(crate) name: String,
    /// What cargo gives
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub(crate) fn trials(&self, usual: usize) -> usize {
        self.trials.filter(|trials| *trials > 0).unwrap_or(usual)
    }
}
