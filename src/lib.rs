//! The plugin: commands on top, the watcher below them, and what both stand on. Public is what `main` and the tests use.

mod blocking;
mod cli;
mod cluster;
mod cmd;
mod config;
mod exec;
mod folder;
mod guards;
mod home;
mod kept;
mod kind;
mod local;
mod lock;
mod node;
mod printer;
mod release;
mod reload;
mod spec;
mod speclist;
mod status;
mod targets;
mod tls;
mod tunnel;
mod version;
mod watcher;

pub use cli::main;
pub use cluster::{ClusterArgs, ClusterConfig};
#[cfg(fuzzing)]
pub use config::fuzz as fuzz_config;
pub use home::short_hash;
pub use lock::Lock;
