//! What cases are made of: a cluster behind an adapter, one installation for the whole run, and for each case
//! a sandbox of its own (a namespace, a KSYNC_HOME, a local directory) that is cleared whatever happens.

pub(crate) mod app;
pub(crate) mod case;
pub(crate) mod cluster;
pub(crate) mod container;
pub(crate) mod developer;
pub(crate) mod eventually;
mod given_cluster;
pub(crate) mod init;
pub(crate) mod ksync;
pub(crate) mod kubectl;
mod leftovers;
mod local_cluster;
pub(crate) mod model;
pub(crate) mod nodes;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod proving;
pub(crate) mod proxy;
pub(crate) mod run;
pub(crate) mod runner;
mod runtime;
pub(crate) mod sandbox;
pub(crate) mod shell;
pub(crate) mod steps;
pub(crate) mod stopwatch;
pub(crate) mod stranger;
pub(crate) mod table;
pub(crate) mod tree;
pub(crate) mod witness;

pub(crate) use app::App;
pub(crate) use case::{Case, Need};
pub(crate) use eventually::eventually;
pub(crate) use sandbox::Sandbox;
pub(crate) use steps::steps;
