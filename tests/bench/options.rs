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
    /// Numbers of pods, of the long rows
    #[arg(long, value_delimiter = ',', default_value = "1,10,60")]
    pub(crate) pods: Vec<usize>,
    /// Size of the large tree, of the long rows; less where the disk has no room for it
    #[arg(long, default_value_t = 10.0)]
    pub(crate) gigabytes: f64,
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
