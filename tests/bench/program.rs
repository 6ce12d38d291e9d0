//! `make bench`: how fast it is, on the test cluster, as somebody outside of it sees it.
//!
//! Invariant: a figure is a time between two things that were seen from outside (a local file, a file of a container
//! through /proc, an answer), never what the plugin says of itself; what could not be measured is said.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the whole target is a test: it fails by panic and its output is a report"
)]

mod bed;
mod bench;
mod environment;
mod files;
mod link;
mod observer;
mod options;
mod ready;
mod rows;
mod usage;

/// What the cluster suite has already.
#[path = "../cluster/suite"]
#[allow(dead_code, unused_imports, reason = "the suite needs more of it than the bench does")]
mod suite {
    pub(crate) mod app;
    pub(crate) mod case;
    pub(crate) mod cluster;
    pub(crate) mod container;
    pub(crate) mod eventually;
    mod given_cluster;
    pub(crate) mod init;
    pub(crate) mod ksync;
    pub(crate) mod kubectl;
    mod leftovers;
    mod local_cluster;
    pub(crate) mod nodes;
    pub(crate) mod process;
    pub(crate) mod proxy;
    pub(crate) mod run;
    mod runtime;
    pub(crate) mod sandbox;
    pub(crate) mod shell;
    pub(crate) mod steps;
    pub(crate) mod table;
    pub(crate) mod tree;

    pub(crate) use app::App;
    pub(crate) use eventually::eventually;
    pub(crate) use sandbox::Sandbox;
}

fn main() -> std::process::ExitCode {
    bench::main()
}
