//! The cluster suite: the plugin, radar and syncthing as they are, on a real Kubernetes with every runtime that ksync
//! knows.
//!
//! Invariant: a case passes only on what was read in a container from outside or in a local file, never on
//! the plugin's own word alone, and a run leaves nothing behind, passed or failed.
//!
//! With KSYNC_TEST_KUBECONFIG it runs on somebody's own cluster; what can't run there is said and counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the whole target is a test: it fails by panic and its output is a report"
)]

mod cases;
mod suite;

use std::process::ExitCode;

fn main() -> ExitCode {
    suite::runner::main(&cases::all())
}
