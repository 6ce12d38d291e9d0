//! The container runtimes that radar knows, by the scheme of a container's id.

use std::fmt;

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
    pub(super) fn sockets(self) -> &'static [&'static str] {
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
