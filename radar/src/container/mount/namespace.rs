//! Other processes' views of the file system: entering one, and opening a path in one without being led elsewhere.
//!
//! Invariant: a view is only entered by a thread that was made for this and ends afterwards.
//!
//! Calls: setns(2), openat2(2).
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use ksync_procfs::Namespace;
use ksync_tree::Identity;
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, open, openat2},
    io::Errno,
    process::{chroot, fchdir},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use super::error::{Error, kernel};

/// Runs `work` in a thread of its own whose root and working directory are nobody else's.
pub(super) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (result_tx, result_rx) = tokio::sync::oneshot::channel();
    // The asker may have been cancelled; descriptors in the result close themselves then.
    own_thread(work, move |result| drop(result_tx.send(result)))?;
    result_rx.await.map_err(|_| Error::Thread(io::Error::other("the thread panicked")))?
}

/// Runs `work` in such a thread, and tells there what came of it; nobody waits.
pub(super) fn own_thread<T: 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    tell: impl FnOnce(Result<T, Error>) + Send + 'static,
) -> Result<(), Error> {
    let thread = std::thread::Builder::new().name("ksync-mount".to_owned());
    thread.spawn(move || tell(unshare_fs().and_then(|()| work()))).map(drop).map_err(Error::Thread)
}

fn unshare_fs() -> Result<(), Error> {
    // SAFETY: only the root and working directory stop being shared; the table of descriptors stays common, and
    // the thread was made for this and ends afterwards.
    unsafe { unshare_unsafe(UnshareFlags::FS) }.map_err(kernel("leave the shared working directory", "/"))
}

/// A process's root directory and mount namespace, opened while it lived.
#[derive(Debug)]
pub(super) struct MountNamespace {
    pub(super) root: OwnedFd,
    namespace: OwnedFd,
}

impl MountNamespace {
    /// Of the process `pid`.
    pub(super) fn open(pid: i32) -> Result<Self, Error> {
        let gone = |path: String| {
            move |errno| match errno {
                Errno::NOENT | Errno::SRCH => Error::Ended { pid },
                errno => kernel("open", path)(errno),
            }
        };
        let root = ksync_procfs::root_path(pid);
        let root = open(&root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(gone(root))?;
        let namespace = ksync_procfs::namespace_path(pid, Namespace::Mount);
        let namespace =
            open(&namespace, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(gone(namespace))?;
        Ok(Self { root, namespace })
    }

    /// Moves this thread there. Only in a thread of [`in_thread`].
    pub(super) fn enter(&self) -> Result<(), Error> {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Mount))
            .map_err(kernel("enter the mount namespace of", "the process"))?;
        fchdir(&self.root).map_err(kernel("go to the root of", "the process"))?;
        chroot(".").map_err(kernel("take the root of", "the process"))
    }
}

/// Opens a directory below `root` as a process with that root would, symlinks included.
pub(super) fn open_in_root(root: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens what stands at `path` below the directory `base`, without following any symlink.
pub(crate) fn open_beneath(base: impl AsFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { "." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(base, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Identity of the directory that now stands at `path` in the container whose init is `pid`.
pub(crate) fn identity_in_container(pid: i32, path: &str) -> Result<Identity, Error> {
    let root = MountNamespace::open(pid)?.root;
    let dir = open_in_root(&root, path).map_err(kernel("open", path))?;
    identity_by_fd(&dir).map_err(kernel("stat", path))
}

/// Whether the process `pid` has a root directory. One that exits loses its root, then its mount namespace with all mounts in
/// it, and only then is its end told through a pidfd (`do_exit` in `kernel/exit.c`): an init's no sooner than all processes of
/// its pid namespace have ended.
pub(crate) fn has_root(pid: i32) -> bool {
    !matches!(MountNamespace::open(pid), Err(Error::Ended { .. }))
}

pub(super) fn identity_by_fd(dir: impl AsFd) -> rustix::io::Result<Identity> {
    let stat = rustix::fs::fstat(dir)?;
    Ok(Identity { dev: stat.st_dev, ino: stat.st_ino })
}
