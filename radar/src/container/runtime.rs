//! From a container's id to the process that is its init, asked of the container's own runtime.
//!
//! Invariant: the id's scheme alone decides which runtime is asked. Two runtimes may share a machine, so a
//! container is never looked for by searching processes. Every question has a time limit.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::future::BoxFuture;

mod cri;
mod docker;
pub(crate) mod record;

use record::Record;

/// Longest time that one runtime may take for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a container's process is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Not `scheme://id`.
    #[error("`{id}` is not a container id with its runtime's scheme, such as `containerd://...`")]
    BadId {
        /// As it came.
        id: String,
    },
    /// A runtime that radar does not know.
    #[error("containers of `{scheme}` are not supported; supported are containerd, Docker and CRI-O")]
    UnknownScheme {
        /// Before `://`.
        scheme: String,
    },
    /// No socket of the runtime is on this node.
    #[error("no socket of {scheme} was found on this node (tried `{tried}`)")]
    NoSocket {
        /// Which runtime.
        scheme: Scheme,
        /// Where it was looked for, comma separated.
        tried: String,
    },
    /// The runtime does not have the container.
    #[error("{scheme} on this node has no container `{id}`")]
    NotFound {
        /// Which runtime.
        scheme: Scheme,
        /// Without its scheme.
        id: String,
    },
    /// The container is there, but nothing runs in it.
    #[error("container `{id}` is not running, it is {state}")]
    NotRunning {
        /// Without its scheme.
        id: String,
        /// The runtime's word.
        state: String,
    },
    /// The runtime has no process on this machine for it.
    #[error("container `{id}` runs in a sandbox (such as Kata or gVisor) whose files the node can't reach")]
    Sandboxed {
        /// Without its scheme.
        id: String,
    },
    /// The runtime does not tell how the container was started.
    #[error("{scheme} on this node does not tell how container `{id}` was started")]
    NoRecord {
        /// Which runtime.
        scheme: Scheme,
        /// Without its scheme.
        id: String,
    },
    /// The runtime did not answer, or with something else.
    #[error("ask {scheme} on `{socket}` for container `{id}`: {reason}")]
    Asked {
        /// Which runtime.
        scheme: Scheme,
        /// The socket, as the node names it.
        socket: String,
        /// Without its scheme.
        id: String,
        /// What went wrong.
        reason: String,
    },
}

/// Which runtime a container belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    /// `docker://`
    Docker,
    /// `containerd://`
    Containerd,
    /// `cri-o://`
    CriO,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Containerd => "containerd",
            Self::CriO => "CRI-O",
        })
    }
}

impl Scheme {
    /// Where the runtime's socket may be, below the node's root; the usual places first.
    fn sockets(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["run/docker.sock", "var/run/docker.sock"],
            Self::Containerd => &[
                "run/containerd/containerd.sock",
                "run/k3s/containerd/containerd.sock",
                "run/k0s/containerd.sock",
                "var/snap/microk8s/common/run/containerd.sock",
            ],
            Self::CriO => &["run/crio/crio.sock"],
        }
    }
}

/// A container's id as a pod's status has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ContainerId {
    /// Its runtime.
    pub(crate) scheme: Scheme,
    /// What the runtime calls it.
    pub(crate) id: String,
}

impl ContainerId {
    /// Reads `scheme://id`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::BadId { id: text.to_owned() };
        let (scheme, id) = text.split_once("://").ok_or_else(bad)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > 256 || !id.chars().all(plain) || id.starts_with('.') {
            return Err(bad());
        }
        let scheme = match scheme {
            "docker" => Scheme::Docker,
            "containerd" => Scheme::Containerd,
            "cri-o" => Scheme::CriO,
            other => return Err(Error::UnknownScheme { scheme: other.to_owned() }),
        };
        Ok(Self { scheme, id: id.to_owned() })
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Docker => "docker",
            Scheme::Containerd => "containerd",
            Scheme::CriO => "cri-o",
        };
        write!(f, "{scheme}://{}", self.id)
    }
}

/// What a runtime knows of a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerProcess {
    /// Its init, in the node's PID space; more than 1.
    pub(crate) pid: i32,
    /// Where the runtime says that its root file system is, where it says so.
    pub(crate) base_path: Option<String>,
}

/// One container runtime, reached over one socket.
trait Runtime: Send + Sync {
    /// The process of the container `id` (without its scheme).
    fn resolve<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerProcess, Error>>;

    /// How that process was started.
    fn record<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Record, Error>>;

    /// Ends the container: SIGTERM, and SIGKILL after `seconds`. kubelet starts it anew where the pod says so.
    fn stop<'a>(&'a self, id: &'a str, seconds: u32) -> BoxFuture<'a, Result<(), Error>>;
}

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

    /// Asks the container's runtime for its process.
    pub(crate) async fn resolve(&self, container: &ContainerId) -> Result<ContainerProcess, Error> {
        self.ask(container, LIMIT, |runtime, id| runtime.resolve(id)).await
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
    use super::{ContainerId, Error, Runtimes, Scheme};

    #[test]
    fn ids_are_read_and_written() {
        for text in ["docker://abc", "containerd://0f", "cri-o://x_y.z-1"] {
            assert_eq!(ContainerId::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "abc", "docker://", "docker://../x", "docker://a/b", "docker://a b"] {
            assert!(matches!(ContainerId::parse(text), Err(Error::BadId { .. })), "{text}");
        }
        assert_eq!(ContainerId::parse("rkt://abc"), Err(Error::UnknownScheme { scheme: "rkt".into() }));
    }

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
