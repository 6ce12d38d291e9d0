//! The questions that radar asks of any container runtime.

use futures::future::BoxFuture;

use super::{error::Error, record::Record};

/// What a runtime knows of a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerProcess {
    /// Its init, in the node's PID space; more than 1.
    pub(crate) pid: i32,
    /// Where the runtime says that its root file system is, where it says so.
    pub(crate) base_path: Option<String>,
}

/// One container runtime, reached over one socket.
pub(super) trait Runtime: Send + Sync {
    /// The process of the container `id` (without its scheme).
    fn resolve<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerProcess, Error>>;

    /// How that process was started.
    fn record<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Record, Error>>;

    /// Ends the container: SIGTERM, and SIGKILL after `seconds`. kubelet starts it anew where the pod says so.
    fn stop<'a>(&'a self, id: &'a str, seconds: u32) -> BoxFuture<'a, Result<(), Error>>;
}
