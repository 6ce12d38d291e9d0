//! What was asked for on the command line.

use clap::Parser;

/// Whether both sides become equal, whatever happens, on the test cluster.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Options {
    /// How long it writes and breaks things
    #[arg(long, default_value_t = 600)]
    pub(crate) seconds: u32,
    /// What is drawn
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A run that is too short for every fault, and for twenty rounds, is no failure
    #[arg(long)]
    pub(crate) short: bool,
    /// Only these faults; `calm` for rounds without one
    #[arg(long, value_delimiter = ',')]
    pub(crate) faults: Vec<String>,
    /// Without these guards (`KSYNC_GUARDS_OFF`): such a run is to fail
    #[arg(long, default_value = "")]
    pub(crate) guards_off: String,
    /// What cargo gives
    #[arg(long, hide = true)]
    bench: bool,
}
