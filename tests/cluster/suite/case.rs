//! A case: a name, what it does, and what it needs of the cluster.

use super::Sandbox;

/// Something that not every cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Container processes that this machine can see and kill.
    Processes,
    /// Runtimes that can be stopped, and asked behind kubelet's back.
    Runtimes,
    /// An API server that can be stopped.
    ApiServer,
    /// The key that client certificates are signed with.
    Authority,
    /// The image with one static program and nothing else.
    StaticImage,
    /// Nodes whose runtime gives pods user namespaces, and with Linux 6.15, which takes other user ids from a mount.
    UserNamespaces,
    /// Room on the nodes' disks for more than what a spool leaves free.
    DiskRoom,
}

/// How often a case runs. Whichever it is, one that has containers has them on every runtime of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// With containers on each node, or without any.
    Once,
    /// Once for each runtime, with all of its containers there.
    OnEach,
}

/// One test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Sandbox),
    /// Disturbs what all cases share, so no other runs meanwhile.
    pub(crate) alone: bool,
    pub(crate) runs: Runs,
    pub(crate) needs: &'static [Need],
    /// Its apps have the seccomp filter of their runtime (`RuntimeDefault`).
    pub(crate) filtered: bool,
}

impl Case {
    pub(crate) const fn new(name: &'static str, run: fn(&Sandbox)) -> Self {
        Self { name, run, alone: false, runs: Runs::Once, needs: &[], filtered: false }
    }

    pub(crate) const fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Once for each runtime.
    pub(crate) const fn on_each(self) -> Self {
        Self { runs: Runs::OnEach, ..self }
    }

    /// Under the seccomp filter of each runtime.
    pub(crate) const fn filtered(self) -> Self {
        Self { filtered: true, ..self }
    }

    pub(crate) const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }
}
