//! From a container's id to the process that is its init, asked of the container's own runtime.
//!
//! Invariant: the id's scheme alone decides which runtime is asked. Two runtimes may share a machine, so a
//! container is never looked for by searching processes. Every question has a time limit.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures::future::BoxFuture;

mod client;
mod container_id;
mod cri;
mod docker;
mod error;
pub(crate) mod record;
mod sandbox;
mod scheme;

pub(crate) use container_id::ContainerId;
pub(crate) use error::Error;
#[cfg(test)]
pub(crate) use sandbox::Sandbox;
pub(crate) use scheme::Scheme;

use client::{ContainerProcess, Runtime};
use record::Record;

/// Longest time that one runtime may take for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The runtimes of this node.
#[derive(Debug, Clone)]
pub(crate) struct Runtimes {
    /// The node's root directory, as radar sees it.
    root: PathBuf,
}

impl Runtimes {
    /// The runtimes whose sockets are below `root`, which is `/proc/1/root` where PIDs are the node's.
    pub(crate) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Asks the container's runtime for its process, which is the container's own or an error.
    pub(crate) async fn resolve(&self, container: &ContainerId) -> Result<ContainerProcess, Error> {
        let process = self.ask(container, LIMIT, |runtime, id| runtime.resolve(id)).await?;
        match sandbox::of_process(process.pid, &self.root) {
            Some(sandbox) => Err(Error::Sandboxed { id: container.id.clone(), sandbox }),
            None => Ok(process),
        }
    }

    /// Asks the container's runtime how its process was started.
    pub(crate) async fn record(&self, container: &ContainerId) -> Result<Record, Error> {
        self.ask(container, LIMIT, |runtime, id| runtime.record(id)).await
    }

    /// Has the container's runtime end it: SIGTERM, and SIGKILL after `seconds`.
    pub(crate) async fn stop(&self, container: &ContainerId, seconds: u32) -> Result<(), Error> {
        let limit = LIMIT + Duration::from_secs(seconds.into());
        self.ask(container, limit, move |runtime, id| runtime.stop(id, seconds)).await
    }

    /// Where several sockets of the runtime exist, the first one that has the container answers.
    async fn ask<T>(
        &self,
        container: &ContainerId,
        limit: Duration,
        question: impl for<'r> Fn(&'r dyn Runtime, &'r str) -> BoxFuture<'r, Result<T, Error>>,
    ) -> Result<T, Error> {
        let ContainerId { scheme, id } = container;
        let candidates = scheme.sockets();
        let mut failure = None;
        for candidate in candidates {
            let socket = self.root.join(candidate);
            if !tokio::fs::try_exists(&socket).await.unwrap_or(false) {
                continue;
            }
            let asked = |reason: String| Error::Asked {
                scheme: *scheme,
                socket: format!("/{candidate}"),
                id: id.clone(),
                reason,
            };
            let runtime: Box<dyn Runtime> = match scheme {
                Scheme::Docker => Box::new(docker::Docker::on(socket, limit, &asked)),
                Scheme::Containerd | Scheme::CriO => Box::new(cri::Cri::on(*scheme, socket, &asked)),
            };
            match tokio::time::timeout(limit, question(&*runtime, id)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error @ (Error::NotFound { .. } | Error::Asked { .. }))) => failure = Some(error),
                Ok(Err(error)) => return Err(error),
                Err(_) => failure = Some(asked(format!("no answer within {} s", limit.as_secs()))),
            }
        }
        let tried = candidates.iter().map(|c| format!("/{c}")).collect::<Vec<_>>().join(", ");
        Err(failure.unwrap_or(Error::NoSocket { scheme: *scheme, tried }))
    }
}

#[cfg(test)]
mod tests {
    use super::{ContainerId, Runtimes, Scheme};

    #[tokio::test]
    async fn a_node_without_the_runtime_says_where_it_looked() {
        let root = tempfile::tempdir().unwrap();
        let id = ContainerId { scheme: Scheme::CriO, id: "a".into() };
        let error = Runtimes::below(root.path()).resolve(&id).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no socket of CRI-O was found on this node (tried `/run/crio/crio.sock`)"
        );
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_an_error_with_its_path() {
        let root = tempfile::tempdir().unwrap();
        for (scheme, path) in [(Scheme::Docker, "run/docker.sock"), (Scheme::CriO, "run/crio/crio.sock")] {
            let socket = root.path().join(path);
            std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
            drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
            let error = Runtimes::below(root.path())
                .resolve(&ContainerId { scheme, id: "a".into() })
                .await
                .unwrap_err();
            assert!(error.to_string().contains(&format!("`/{path}`")), "{error}");
        }
    }
}
