//! The command line without a cluster: exact stdout, stderr and status, and snapshots of the help.
//!
//! Invariant: no test here needs anything but the program; each has a home and a kubeconfig of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the whole target is a test")]

mod answer;
mod api;
mod bench;
mod create;
mod documents;
mod get;
mod help;
mod home;
mod init_clean;
mod kept;
mod kubeconfig;
mod live;
mod paths;
mod specs;
mod watcher;
