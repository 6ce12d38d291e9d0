//! Opening a container's directory: resolving its path there, creating it, cloning its mounts.
//!
//! Invariant: what is returned can only be reached through the cloned tree; closing it lets go of
//! everything. The way to the path is gone, and what is missing on it made, with the container's own power.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

use ksync_procfs::{IdMaps, Namespace, OWN_DESCRIPTORS, namespace};
use ksync_tree::{Identity, Root};
use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, StatxFlags, fchmod, fstat, fstatvfs, mkdirat,
        openat, readlinkat, statx,
    },
    io::Errno,
    mount::OpenTreeFlags,
};

use super::{
    clone::{clone, plain},
    error::{Error, Refused, kernel, unread},
    namespace::{MountNamespace, identity_by_fd, in_thread, open_beneath, open_in_root},
    write_test,
};
use crate::container::{
    mountinfo::{self, Submount},
    power::{ContainerPower, Credential, Workers, overrides},
};

/// A container's directory, held.
#[derive(Debug)]
pub(crate) struct Directory {
    /// A private clone of the directory and the mounts below it, for the workers' reading and writing.
    pub(crate) root: Root,
    /// Who may do that.
    pub(crate) workers: Workers,
    /// The path with symlinks resolved inside the container.
    pub(crate) path: String,
    /// Device and inode.
    pub(crate) identity: Identity,
    /// Whether the path did not exist.
    pub(crate) created: bool,
    /// Mounts below it.
    pub(crate) submounts: Vec<Submount>,
}

/// Opens `path` in the container whose init is `pid`, creates it where it is missing, and probes it, all with the power of an
/// exec into it.
pub(crate) async fn open_directory(pid: i32, path: &str, exec: Credential) -> Result<Directory, Error> {
    let path = clean(path)?;
    in_thread(move || open_here(pid, &path, exec)).await
}

/// Whether `path` is a directory in the container whose init is `pid`; what [`open_directory`] would refuse at the
/// first look is refused here too, and nothing is created.
pub(crate) fn look(pid: i32, path: &str, exec: &Credential) -> Result<bool, Error> {
    let path = clean(path)?;
    if path == "/" {
        return Err(Error::WholeRoot { path });
    }
    let root = MountNamespace::open(pid)?.root;
    as_exec(exec, &path, |who| look_from(&root, &path, who))
}

fn look_from(root: &OwnedFd, path: &str, who: &str) -> Result<bool, Error> {
    let mut at = path;
    loop {
        match open_in_root(root, at) {
            Ok(dir) => {
                let flags = fstatvfs(&dir).map_err(kernel("stat the file system of", path))?.f_flag;
                if flags.contains(StatVfsMountFlags::RDONLY) {
                    return Err(Error::ReadOnly { path: path.to_owned() });
                }
                return Ok(at == path);
            }
            // It would be created below the nearest directory that exists.
            Err(Errno::NOENT) if at != "/" => {
                at = at.rsplit_once('/').map_or("/", |(above, _)| if above.is_empty() { "/" } else { above });
            }
            Err(Errno::NOTDIR) => return Err(Error::NotADirectory { path: path.to_owned() }),
            Err(Errno::ACCESS) => return Err(Error::Denied(Refused::new("open", path, who))),
            Err(errno) => return Err(kernel("open", path)(errno)),
        }
    }
}

fn open_here(pid: i32, path: &str, exec: Credential) -> Result<Directory, Error> {
    let namespace = MountNamespace::open(pid)?;
    let mounts = ksync_procfs::mounts(pid).map_err(unread)?;
    let exec = if in_own_user_namespace(pid)? { exec.without_capabilities() } else { exec };
    let (user, ids) = (exec.uid, IdMaps::of(pid).map_err(unread)?);
    let (dir, created) = as_exec(&exec, path, |who| open_or_create(&namespace.root, path, who))?;
    // Opened before the container's root is taken: its /proc is not ours to trust.
    let descriptors = rustix::fs::open(OWN_DESCRIPTORS, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(kernel("open", OWN_DESCRIPTORS))?;
    namespace.enter()?;
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
    let identity = identity_by_fd(&held).map_err(kernel("stat", path))?;
    let in_own_root = mount_of(&dir, path)? == mount_of(&namespace.root, path)?;
    let alone = overrides(&resolved, in_own_root).then(|| plain(&dir, &resolved, OpenTreeFlags::empty()));
    let alone = alone.transpose()?;
    // An idmapped volume was cloned with the numbers that are on the disk.
    let idmapped = mountinfo::mount_at(&mounts, &resolved).is_some_and(|mount| mount.idmapped);
    let own_numbers = !idmapped && ids.user_inside(user) == Some(user);
    let exec = if idmapped { exec.inside(&ids) } else { exec };
    let failed = |source| Error::Kernel { operation: "take the power over", path: path.to_owned(), source };
    let power = Arc::new(ContainerPower::new(exec, alone.is_some()).map_err(failed)?);
    let root = Root::from_fd(held).map_err(|error| failed(std::io::Error::other(error)))?;
    // Of a pod with a user namespace it is open which numbers a volume takes.
    let root = if own_numbers { root.used_by(user) } else { root };
    let root = root.with_power(Arc::clone(&power) as Arc<dyn ksync_tree::Power>);
    let points: Vec<String> = submounts.iter().map(|mount| mount.path.clone()).collect();
    let root = root.with_mounts(points.clone());
    let root = match alone {
        Some(alone) => root.overridden(alone, points),
        None => root,
    };
    with_power(&power, path, || write_test::run(&root, path, &power.who()))?;
    Ok(Directory { root, workers: Workers::new(power), path: resolved, identity, created, submounts })
}

/// Whether a process is in another user namespace than radar.
fn in_own_user_namespace(pid: i32) -> Result<bool, Error> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let of = |pid| namespace(pid, Namespace::User).map_err(unread);
    Ok(of(pid)? != of(own)?)
}

/// Number of the mount that a directory is on (statx(2), `stx_mnt_id`): the kernel's own, whatever names say.
fn mount_of(dir: impl AsFd, path: &str) -> Result<u64, Error> {
    let stat = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map_err(kernel("stat", path))?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(Error::OldKernel { call: "statx of a mount" });
    }
    Ok(stat.stx_mnt_id)
}

/// Does something on a thread with the power of an exec, and nothing beyond; `work` gets to know who that is.
fn as_exec<T: Send>(
    exec: &Credential,
    path: &str,
    work: impl FnOnce(&str) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let failed = |source| Error::Kernel { operation: "take the power over", path: path.to_owned(), source };
    let power = ContainerPower::new(exec.clone(), false).map_err(failed)?;
    with_power(&power, path, || work(&power.who()))
}

/// The same with a power that is there already.
fn with_power<T: Send>(
    power: &ContainerPower,
    path: &str,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let failed = |source| Error::Kernel { operation: "take the power over", path: path.to_owned(), source };
    let taken = || power.take().map_err(failed).and_then(|()| work());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("ksync-exec".to_owned()).spawn_scoped(scope, taken);
        let ended = || Error::Thread(std::io::Error::other("the thread panicked"));
        thread.map_err(Error::Thread)?.join().map_err(|_| ended())?
    })
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

fn open_or_create(root: &OwnedFd, path: &str, who: &str) -> Result<(OwnedFd, bool), Error> {
    let refused = |operation: &'static str, at: &str, errno| match errno {
        Errno::NOTDIR => Error::NotADirectory { path: path.to_owned() },
        Errno::ROFS => Error::ReadOnly { path: path.to_owned() },
        Errno::NOSYS => Error::OldKernel { call: "openat2" },
        Errno::ACCESS | Errno::PERM => Error::Denied(Refused::new(operation, at, who)),
        errno => kernel(operation, at)(errno),
    };
    match open_in_root(root, path) {
        Ok(dir) => return Ok((dir, false)),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(refused("open", path, errno)),
    }
    let mut so_far = String::new();
    let mut dir = open_in_root(root, "/").map_err(|errno| refused("open", "/", errno))?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        so_far = format!("{so_far}/{name}");
        dir = match open_in_root(root, &so_far) {
            Ok(next) => next,
            Err(Errno::NOENT) => match create(&dir, name, &so_far) {
                Ok(made) => made,
                Err(Errno::EXIST) => return Err(Error::Dangling { path: so_far }),
                Err(errno) => return Err(refused("create", &so_far, errno)),
            },
            Err(errno) => return Err(refused("open", &so_far, errno)),
        };
    }
    Ok((dir, true))
}

/// Makes a directory, which belongs to whoever makes it; of a set-gid directory a set-gid one.
fn create(dir: &OwnedFd, name: &str, path: &str) -> rustix::io::Result<OwnedFd> {
    mkdirat(dir, name, Mode::RWXU)?;
    tracing::debug!(path, "create a directory in the container");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(dir, name, flags, Mode::empty())?;
    let stat = fstat(&made)?;
    fchmod(&made, Mode::from_raw_mode(stat.st_mode & 0o2000 | 0o755))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::fs::{Mode, OFlags};

    use crate::container::mount::error::Error;

    use super::{clean, open_directory, open_or_create};
    use crate::container::power::Credential;

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
            match open_directory(pid, &path, Credential::own()).await.unwrap_err() {
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
        let root = root(dir.path());
        assert!(open_or_create(&root, "/link/x/y", "user 7").unwrap().1);
        assert!(dir.path().join("real/x/y").is_dir());
        let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("real/x"), mode("real/x/y")), (0o755, 0o755));
        assert!(!open_or_create(&root, "/link/x", "user 7").unwrap().1);
        let error = open_or_create(&root, "/dangling/x", "user 7").unwrap_err().to_string();
        assert_eq!(error, "`/dangling` in the container is a symlink that leads nowhere");
        let error = open_or_create(&root, "/file/x", "user 7").unwrap_err().to_string();
        assert_eq!(error, "`/file/x` in the container is not a directory");
    }
}
