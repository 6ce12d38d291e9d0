//! Why a container's directory can't be attached, bound or unbound.

use std::io;

use rustix::io::Errno;

/// Why a directory can't be attached, bound or unbound. `path` is as the container sees it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not absolute, or with `..`.
    #[error("`{path}` is not an absolute path without `..`")]
    BadPath {
        /// As it came.
        path: String,
    },
    /// A file stands at the path or on the way to it.
    #[error("`{path}` in the container is not a directory")]
    NotADirectory {
        /// The path that was asked for.
        path: String,
    },
    /// All of the container.
    #[error("`{path}` is the container's whole root directory, which is not synced")]
    WholeRoot {
        /// The path that was asked for.
        path: String,
    },
    /// A symlink on the way leads nowhere.
    #[error("`{path}` in the container is a symlink that leads nowhere")]
    Dangling {
        /// The symlink.
        path: String,
    },
    /// Nothing can be written there.
    #[error("`{path}` in the container is on a read-only file system")]
    ReadOnly {
        /// The path that was asked for.
        path: String,
    },
    /// Not files.
    #[error("`{path}` in the container is on a kernel file system (`{kind}`)")]
    KernelFs {
        /// The path that was asked for.
        path: String,
        /// Its type.
        kind: String,
    },
    /// A volume of a pod with a user namespace, on a kernel that can't show it with the numbers that it has on the disk.
    #[error(
        "`{path}` in the container is on a volume of a pod with `hostUsers: false`, which takes Linux 6.15 or newer on the node"
    )]
    Idmapped {
        /// The path that was asked for, or of the volume below it.
        path: String,
    },
    /// There is no place for a program that nobody else can change.
    #[error(
        "`/dev` in the container {what}, so radar has no place there for the program that an exec is proved with"
    )]
    NoPlace {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The process is gone.
    #[error("the container's process `{pid}` has ended")]
    Ended {
        /// Its init.
        pid: i32,
    },
    /// The kernel lacks a call.
    #[error("the node's kernel lacks `{call}`; Linux 5.14 or newer is needed")]
    OldKernel {
        /// The call.
        call: &'static str,
    },
    /// The container's own process may not do it.
    #[error(transparent)]
    Denied(#[from] Refused),
    /// The write test failed.
    #[error("can't {operation} a file in `{path}` in the container: {reason}")]
    NotWritable {
        /// The path that was asked for.
        path: String,
        /// What was tried.
        operation: &'static str,
        /// What it means.
        reason: String,
    },
    /// A system call failed in a way that has no words of its own.
    #[error("{operation} `{path}`")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// The thread could not be started, or panicked.
    #[error("run a thread for mount namespaces")]
    Thread(#[source] io::Error),
}

/// What is refused to a container's own process, and to radar with it.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't {operation} `{path}` in the container: {who} may not, and ksync may no more there than `kubectl exec`"
)]
pub(crate) struct Refused {
    operation: &'static str,
    path: String,
    who: String,
}

impl Refused {
    /// As the container sees the path.
    pub(super) fn new(operation: &'static str, path: &str, who: &str) -> Self {
        Self { operation, path: path.to_owned(), who: who.to_owned() }
    }
}

/// Makes an error of a file of a process that can't be read.
pub(super) fn unread(error: ksync_procfs::Error) -> Error {
    Error::Kernel { operation: "read", path: error.path, source: error.source }
}

/// Makes an error of a call that failed on `path`.
pub(super) fn kernel(operation: &'static str, path: impl Into<String>) -> impl FnOnce(Errno) -> Error {
    let path = path.into();
    move |errno| Error::Kernel { operation, path, source: errno.into() }
}
