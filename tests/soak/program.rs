//! `make soak`: writers on both sides, and every part broken, alone and in pairs; an observer of its own judges whether
//! both sides become equal, nothing is lost, and `watching` is true.
//!
//! Invariant: a verdict comes from bytes that were read here, never from the product's word; what was broken is mended,
//! and what was made is taken away, also when the run is interrupted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the whole target is a test: it fails by panic and its output is a report"
)]

mod claim;
mod clock;
mod deeds;
mod editors;
mod evidence;
mod faults;
mod hand;
mod interrupt;
mod kept;
mod mounts;
mod observer;
mod options;
mod place;
mod round;
mod scan;
mod soak;
mod strike;
mod totals;
mod unguarded;
mod world;
mod writers;

/// What the cluster suite has already.
#[path = "../cluster/suite"]
#[allow(dead_code, unused_imports, reason = "the suite needs more of it than the soak does")]
mod suite {
    pub(crate) mod app;
    pub(crate) mod case;
    pub(crate) mod cluster;
    pub(crate) mod container;
    pub(crate) mod eventually;
    mod given_cluster;
    pub(crate) mod ksync;
    pub(crate) mod kubectl;
    mod leftovers;
    mod local_cluster;
    pub(crate) mod nodes;
    pub(crate) mod process;
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
    soak::main()
}
