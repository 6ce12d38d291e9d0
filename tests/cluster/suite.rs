//! What cases are made of: a cluster behind an adapter, one installation for the whole run, and for each case
//! a desk of its own (a namespace, a KSYNC_HOME, a local directory) that is cleared whatever happens.

pub(crate) mod app;
pub(crate) mod case;
pub(crate) mod cluster;
pub(crate) mod container;
pub(crate) mod desk;
pub(crate) mod developer;
pub(crate) mod eventually;
mod foreign;
pub(crate) mod guard;
pub(crate) mod init;
pub(crate) mod ksync;
pub(crate) mod kubectl;
mod leftovers;
pub(crate) mod model;
mod own;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod run;
pub(crate) mod runner;
pub(crate) mod shell;
pub(crate) mod steps;
pub(crate) mod tree;

pub(crate) use app::App;
pub(crate) use case::{Case, Need};
pub(crate) use desk::Desk;
pub(crate) use eventually::eventually;
pub(crate) use steps::steps;
