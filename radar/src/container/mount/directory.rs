//! Opening a container's directory: resolving its path there, creating it, cloning its mounts.
//!
//! Invariant: what is returned can only be reached through the cloned tree; closing it lets go of
//! everything. Only directories that are created here get an owner from us.

use std::os::fd::{AsRawFd, OwnedFd};

use ksync_procfs::{IdMaps, OWN_DESCRIPTORS, Status};
use ksync_tree::{Identity, Root};
use rustix::{
    fs::{
        FileType, Gid, Mode, OFlags, StatVfsMountFlags, Uid, fchmod, fchown, fstat, fstatvfs, mkdirat,
        openat, readlinkat,
    },
    io::Errno,
};

use super::{
    clone::{clone, unmapped},
    error::{Error, kernel, unread},
    namespace::{MountNamespace, identity_by_fd, in_thread, open_beneath, open_in_root},
    write_test,
};
use crate::container::mountinfo::{self, Submount};

/// A container's directory, held.
#[derive(Debug)]
pub(crate) struct Directory {
    /// A private clone of the directory and the mounts below it, for radar's own reading and writing.
    pub(crate) root: Root,
    /// The path with symlinks resolved inside the container.
    pub(crate) path: String,
    /// Device and inode.
    pub(crate) identity: Identity,
    /// Whether the path did not exist.
    pub(crate) created: bool,
    /// Mounts below it.
    pub(crate) submounts: Vec<Submount>,
}

/// User and group of a container's main process.
#[derive(Debug, Clone, Copy)]
struct User {
    /// As this node numbers them.
    outside: (u32, u32),
    /// As the container does.
    inside: (u32, u32),
}

/// Opens `path` in the container whose init is `pid`, creates it where it is missing, and probes it.
pub(crate) async fn open_directory(pid: i32, path: &str) -> Result<Directory, Error> {
    let path = clean(path)?;
    in_thread(move || open_here(pid, &path)).await
}

/// Whether `path` is a directory in the container whose init is `pid`; what [`open_directory`] would refuse at the
/// first look is refused here too, and nothing is created.
pub(crate) fn look(pid: i32, path: &str) -> Result<bool, Error> {
    let path = clean(path)?;
    if path == "/" {
        return Err(Error::WholeRoot { path });
    }
    let root = MountNamespace::open(pid)?.root;
    let mut at = path.as_str();
    loop {
        match open_in_root(&root, at) {
            Ok(dir) => {
                let flags = fstatvfs(&dir).map_err(kernel("stat the file system of", path.as_str()))?.f_flag;
                if flags.contains(StatVfsMountFlags::RDONLY) {
                    return Err(Error::ReadOnly { path: path.clone() });
                }
                return Ok(at == path);
            }
            // It would be created below the nearest directory that exists.
            Err(Errno::NOENT) if at != "/" => {
                at = at.rsplit_once('/').map_or("/", |(above, _)| if above.is_empty() { "/" } else { above });
            }
            Err(Errno::NOTDIR) => return Err(Error::NotADirectory { path: path.clone() }),
            Err(errno) => return Err(kernel("open", path.as_str())(errno)),
        }
    }
}

fn open_here(pid: i32, path: &str) -> Result<Directory, Error> {
    let namespace = MountNamespace::open(pid)?;
    let mounts = ksync_procfs::mounts(pid).map_err(unread)?;
    let status = Status::of(pid).map_err(unread)?;
    let user = (status.effective_uid(), status.effective_gid());
    let ids = IdMaps::of(pid).map_err(unread)?;
    let user = User {
        outside: user,
        inside: (ids.user_inside(user.0).unwrap_or(user.0), ids.group_inside(user.1).unwrap_or(user.1)),
    };
    // Opened before the container's root is taken: its /proc is not ours to trust.
    let descriptors = rustix::fs::open(OWN_DESCRIPTORS, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(kernel("open", OWN_DESCRIPTORS))?;
    namespace.enter()?;
    let (dir, created) = open_or_create(&namespace.root, path, user)?;
    let resolved = readlinkat(&descriptors, dir.as_raw_fd().to_string(), Vec::new())
        .map_err(kernel("resolve", path))?
        .to_string_lossy()
        .into_owned();
    if resolved == "/" {
        return Err(Error::WholeRoot { path: path.to_owned() });
    }
    if let Some(mount) = mountinfo::mount_at(&mounts, &resolved).filter(|m| mountinfo::is_kernel(&m.kind)) {
        return Err(Error::KernelFs { path: path.to_owned(), kind: mount.kind.clone() });
    }
    let flags = fstatvfs(&dir).map_err(kernel("stat the file system of", path))?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Err(Error::ReadOnly { path: path.to_owned() });
    }
    let submounts = mountinfo::submounts(&mounts, &resolved, |relative| {
        open_beneath(&dir, relative, OFlags::PATH)
            .and_then(|fd| fstat(&fd))
            .is_ok_and(|stat| !FileType::from_raw_mode(stat.st_mode).is_dir())
    });
    let held = clone(&dir, &resolved, &mounts, &submounts)?;
    let stat = fstat(&held).map_err(kernel("stat", path))?;
    let identity = identity_by_fd(&held).map_err(kernel("stat", path))?;
    write_test::run(&held, path, stat.st_uid, stat.st_gid)?;
    let root = Root::from_fd(held).map_err(|error| Error::Kernel {
        operation: "hold",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    // Of a pod with a user namespace it is open which numbers a volume takes.
    let root = if user.outside == user.inside { root.used_by(user.outside.0) } else { root };
    Ok(Directory { root, path: resolved, identity, created, submounts })
}

/// The path without empty and `.` components.
fn clean(path: &str) -> Result<String, Error> {
    let bad = || Error::BadPath { path: path.to_owned() };
    let rest = path.strip_prefix('/').ok_or_else(bad)?;
    let names: Vec<&str> = rest.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.contains(&"..") || path.contains('\0') {
        return Err(bad());
    }
    Ok(format!("/{}", names.join("/")))
}

fn open_or_create(root: &OwnedFd, path: &str, user: User) -> Result<(OwnedFd, bool), Error> {
    let refused = |errno| match errno {
        Errno::NOTDIR => Error::NotADirectory { path: path.to_owned() },
        Errno::ROFS => Error::ReadOnly { path: path.to_owned() },
        Errno::NOSYS => Error::OldKernel { call: "openat2" },
        errno => kernel("open", path)(errno),
    };
    match open_in_root(root, path) {
        Ok(dir) => return Ok((dir, false)),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(refused(errno)),
    }
    let mut so_far = String::new();
    let mut dir = open_in_root(root, "/").map_err(refused)?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        so_far = format!("{so_far}/{name}");
        dir = match open_in_root(root, &so_far) {
            Ok(next) => next,
            Err(Errno::NOENT) => match create(&dir, name, &so_far, user.outside) {
                Ok(made) => made,
                // A volume in which this node's root is nobody: made by the numbers that are on the disk.
                Err(Errno::OVERFLOW) => {
                    create(&unmapped(&dir, &so_far)?, name, &so_far, user.inside).map_err(refused)?;
                    open_in_root(root, &so_far).map_err(refused)?
                }
                Err(Errno::EXIST) => return Err(Error::Dangling { path: so_far }),
                Err(errno) => return Err(refused(errno)),
            },
            Err(errno) => return Err(refused(errno)),
        };
    }
    Ok((dir, true))
}

fn create(dir: &OwnedFd, name: &str, path: &str, (uid, gid): (u32, u32)) -> rustix::io::Result<OwnedFd> {
    mkdirat(dir, name, Mode::RWXU)?;
    tracing::debug!(path, uid, gid, "create a directory in the container");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(dir, name, flags, Mode::empty())?;
    let stat = fstat(&made)?;
    // The container may have put another directory there: only what looks like ours is given away.
    let own = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o777 == 0o700;
    if own {
        fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(&made, Mode::from_raw_mode(stat.st_mode & 0o2000 | 0o755))?;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::fs::{Mode, OFlags};

    use crate::container::mount::error::Error;

    use super::{User, clean, open_directory, open_or_create};

    fn root(path: &std::path::Path) -> std::os::fd::OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn paths_are_absolute_and_go_down() {
        assert_eq!(clean("/a//b/./c/").unwrap(), "/a/b/c");
        assert_eq!(clean("/").unwrap(), "/");
        for path in ["", "a", "/a/../b", "/..", "/a\0b"] {
            assert!(clean(path).is_err(), "{path:?}");
        }
    }

    #[tokio::test]
    async fn the_whole_root_is_refused_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/", dir.path().join("all")).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        for path in ["/".to_owned(), dir.path().join("all").display().to_string()] {
            match open_directory(pid, &path).await.unwrap_err() {
                error @ Error::WholeRoot { .. } => assert_eq!(
                    error.to_string(),
                    format!("`{path}` is the container's whole root directory, which is not synced")
                ),
                // Where nobody may enter a mount namespace.
                error => assert!(matches!(error, Error::Kernel { .. }), "{error}"),
            }
        }
    }

    #[test]
    fn a_missing_path_is_created_inside_the_root_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        symlink("/real", dir.path().join("link")).unwrap();
        symlink("/nowhere/else", dir.path().join("dangling")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let user = User { outside: user, inside: user };
        let root = root(dir.path());
        assert!(open_or_create(&root, "/link/x/y", user).unwrap().1);
        assert!(dir.path().join("real/x/y").is_dir());
        let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("real/x"), mode("real/x/y")), (0o755, 0o755));
        assert!(!open_or_create(&root, "/link/x", user).unwrap().1);
        let error = open_or_create(&root, "/dangling/x", user).unwrap_err().to_string();
        assert_eq!(error, "`/dangling` in the container is a symlink that leads nowhere");
        let error = open_or_create(&root, "/file/x", user).unwrap_err().to_string();
        assert_eq!(error, "`/file/x` in the container is not a directory");
    }
}
