//! Cloning a container's directory with the mounts below it, for radar and syncthing to read and to write.
//!
//! Invariant: a clone is private, no symlink in it leads anywhere, and nothing in it opens devices, runs or gains privileges
//! through it. Users and groups in it have numbers that this node's root may give away.
//!
//! A volume of a pod with a user namespace is mounted with other numbers than it has on the disk (idmapped), among which
//! this node's root is nobody, who can make nothing. Such a mount is cloned without them: what is on the disk are the
//! container's own numbers. Calls: open_tree(2), open_tree_attr(2) (Linux 6.15), mount_setattr(2), move_mount(2).
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use ksync_procfs::Mount;
use rustix::{
    fs::OFlags,
    io::Errno,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use super::{
    error::{Error, kernel},
    namespace::open_beneath,
};
use crate::container::mountinfo::{self, Submount};

/// Number of open_tree_attr(2), the same on every architecture that had no 467th call before.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// Clones the directory `dir`, which is `path` in the container, with the mounts below it.
pub(super) fn clone(
    dir: &OwnedFd,
    path: &str,
    mounts: &[Mount],
    submounts: &[Submount],
) -> Result<OwnedFd, Error> {
    if !mountinfo::mount_at(mounts, path).is_some_and(|mount| mount.idmapped) {
        // An idmapped mount below is not synced.
        return plain(dir, path, OpenTreeFlags::AT_RECURSIVE);
    }
    let tree = unmapped(dir, path)?;
    // The kernel clears all mounts of a tree or none, and a mount without other numbers can't be cleared.
    for submount in submounts {
        let path = submount.path.as_str();
        let from = open_beneath(dir, path, OFlags::PATH).map_err(kernel("open", path))?;
        let below = if submount.idmapped {
            unmapped(&from, path)?
        } else {
            plain(&from, path, OpenTreeFlags::empty())?
        };
        let at = open_beneath(&tree, path, OFlags::PATH).map_err(kernel("open", path))?;
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&below, "", &at, "", empty).map_err(kernel("clone the mount", path))?;
    }
    Ok(tree)
}

/// A clone of the idmapped mount that `dir` is on, from `dir` on, with the numbers that are on the disk.
pub(super) fn unmapped(dir: impl AsFd, path: &str) -> Result<OwnedFd, Error> {
    let attributes = attributes(libc::MOUNT_ATTR_IDMAP);
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    // SAFETY: the path is a constant C string, the attributes outlive the call, and their size is passed along. What the
    // call returns is a new descriptor, which is ours alone.
    let tree = unsafe {
        let tree = libc::syscall(
            OPEN_TREE_ATTR,
            dir.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags.bits(),
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        );
        i32::try_from(tree).ok().filter(|tree| *tree >= 0).map(|tree| OwnedFd::from_raw_fd(tree))
    };
    tree.ok_or_else(|| match io::Error::last_os_error() {
        source if source.raw_os_error() == Some(libc::ENOSYS) => Error::Idmapped { path: path.to_owned() },
        source => Error::Kernel { operation: "clone the mount of", path: path.to_owned(), source },
    })
}

pub(super) fn plain(dir: &OwnedFd, path: &str, recursive: OpenTreeFlags) -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | recursive;
    let tree = open_tree(dir, "", flags).map_err(|errno| match errno {
        Errno::NOSYS => Error::OldKernel { call: "open_tree" },
        errno => kernel("clone the mounts of", path)(errno),
    })?;
    lock_down(&tree)?;
    Ok(tree)
}

fn attributes(clear: u64) -> libc::mount_attr {
    libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NOEXEC
            | libc::MOUNT_ATTR_NOSYMFOLLOW,
        attr_clr: clear,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    }
}

fn lock_down(tree: impl AsFd) -> Result<(), Error> {
    set(tree, attributes(0))
}

/// Sets the attributes of a tree of mounts that is nowhere yet.
pub(super) fn set(tree: impl AsFd, attributes: libc::mount_attr) -> Result<(), Error> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a constant C string, the attributes outlive the call, and their size is passed along.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    let source = io::Error::last_os_error();
    match source.raw_os_error() {
        Some(libc::ENOSYS) => Err(Error::OldKernel { call: "mount_setattr" }),
        // An attribute that it does not know.
        Some(libc::EINVAL) if attributes.attr_set & libc::MOUNT_ATTR_NOSYMFOLLOW != 0 => {
            Err(Error::OldKernel { call: "MOUNT_ATTR_NOSYMFOLLOW" })
        }
        _ => Err(Error::Kernel { operation: "make private", path: "the cloned tree".to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::{
            fd::{AsFd, AsRawFd, OwnedFd},
            unix::fs::MetadataExt,
        },
        process::{Child, Command},
    };

    use ksync_procfs::{IdMaps, Namespace, parse_mounts};
    use rustix::fs::{CWD, Mode, OFlags, fstat, openat, statat};

    use super::{OpenTreeFlags, clone, plain, unmapped};
    use crate::container::mountinfo;

    /// A process in a user namespace whose root is this one's user 100000.
    struct Apart(Child);

    impl Apart {
        /// None where such a namespace can't be made.
        fn begin() -> Option<Self> {
            let child = Command::new("unshare").args(["--user", "sleep", "1000"]).spawn().ok()?;
            let mut apart = Self(child);
            let of = |pid| ksync_procfs::namespace(pid, Namespace::User);
            let (pid, mine) = (apart.pid(), of(i32::try_from(std::process::id()).unwrap()).unwrap());
            let limit = std::time::Instant::now() + std::time::Duration::from_secs(5);
            while of(pid).is_ok_and(|theirs| theirs == mine) {
                if apart.0.try_wait().unwrap().is_some() {
                    return None;
                }
                assert!(std::time::Instant::now() < limit, "waited 5 s for `unshare`");
                std::thread::yield_now();
            }
            for map in ["uid_map", "gid_map"] {
                std::fs::write(format!("/proc/{pid}/{map}"), "0 100000 65536").ok()?;
            }
            Some(apart)
        }

        fn pid(&self) -> i32 {
            i32::try_from(self.0.id()).unwrap()
        }

        /// Gives a cloned mount the numbers of the namespace; none where that can't be done.
        fn map(&self, tree: &OwnedFd) -> Option<()> {
            let namespace =
                std::fs::File::open(ksync_procfs::namespace_path(self.pid(), Namespace::User)).unwrap();
            let mut attributes = super::attributes(0);
            attributes.attr_set |= libc::MOUNT_ATTR_IDMAP;
            attributes.userns_fd = u64::try_from(namespace.as_fd().as_raw_fd()).unwrap();
            // SAFETY: as in `lock_down`.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_mount_setattr,
                    tree.as_raw_fd(),
                    c"".as_ptr(),
                    libc::AT_EMPTY_PATH,
                    &raw const attributes,
                    size_of::<libc::mount_attr>(),
                )
            };
            (result == 0).then_some(())
        }
    }

    impl Drop for Apart {
        fn drop(&mut self) {
            // It may have ended by itself.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn owner(dir: &OwnedFd, path: &str) -> u32 {
        statat(dir, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap().st_uid
    }

    fn make(dir: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
        openat(dir, name, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR)
    }

    /// A volume of a pod with `hostUsers: false`, and the process that its numbers are of.
    fn volume(disk: &std::path::Path) -> Option<(OwnedFd, Apart)> {
        let apart = Apart::begin()?;
        let dir = openat(CWD, disk, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mapped = plain(&dir, "/volume", OpenTreeFlags::empty()).ok()?;
        apart.map(&mapped)?;
        Some((mapped, apart))
    }

    #[test]
    fn an_idmapped_volume_is_cloned_with_the_numbers_on_the_disk() {
        let disk = tempfile::tempdir().unwrap();
        std::fs::write(disk.path().join("f"), "").unwrap();
        let Some((volume, apart)) = volume(disk.path()) else {
            return ksync_skip::skipped("mounts can't be cloned with other numbers here");
        };
        let on_disk = disk.path().join("f").metadata().unwrap().uid();
        assert_eq!(IdMaps::of(apart.pid()).unwrap().user_inside(owner(&volume, "f")), Some(on_disk));
        assert_eq!(make(&volume, "g").unwrap_err(), rustix::io::Errno::OVERFLOW, "root is nobody there");
        let cloned = unmapped(&volume, "/volume").unwrap();
        assert_eq!(owner(&cloned, "f"), on_disk);
        assert_eq!(fstat(make(&cloned, "g").unwrap()).unwrap().st_uid, rustix::process::geteuid().as_raw());
        // The mount itself is asked for by the numbers in the container's list of mounts.
        let mounts = parse_mounts("1 0 8:1 / /volume rw,idmapped - ext4 /dev/sda rw\n");
        let cloned = clone(&volume, "/volume", &mounts, &[]).unwrap();
        assert_eq!(owner(&cloned, "f"), on_disk);
        let mounts = parse_mounts("1 0 8:1 / / rw - ext4 /dev/sda rw\n");
        let submounts = mountinfo::submounts(&mounts, "/volume", |_| false);
        assert!(submounts.is_empty());
        let cloned = clone(&volume, "/volume", &mounts, &submounts).unwrap();
        assert_ne!(owner(&cloned, "f"), on_disk, "as it is");
    }
}
