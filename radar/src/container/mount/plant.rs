//! Planting a program and a socket in a container, for a proof of an exec (docs/decisions/0014).
//!
//! Invariant: nobody in the container can change what is planted, and it goes when it is dropped. Only in the container's own
//! `/dev` is it planted, a tmpfs of which nothing lasts.
//!
//! Calls: fsopen(2), fsmount(2), mount_setattr(2), move_mount(2), umount2(2).
#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::MetadataExt, fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    sync::LazyLock,
};

use ksync_procfs::{IdMaps, Mount, OWN_DESCRIPTORS};
use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, mkdirat, openat, unlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
    },
    process::fchdir,
};

use super::{
    clone::set,
    error::{Error, kernel, unread},
    namespace::{MountNamespace, in_thread, open_beneath, own_thread},
};

/// Where every runtime mounts a tmpfs, so that devices can be in it.
const DEV: &str = "/dev";
/// What begins the names of what is planted. What follows is this radar's number, and one of its own.
const PREFIX: &str = ".ksync-";
const PROGRAM: &str = "prove";
const SOCKET: &str = "radar";
/// Bytes and entries that a planted file system has room for.
const SIZE: &str = "8m";
const ENTRIES: &str = "16";

/// This radar, apart from those before it.
static RUN: LazyLock<u32> = LazyLock::new(rand::random);

/// A program and a socket in a container, until it is dropped.
#[derive(Debug)]
pub(crate) struct Planted {
    /// The program and its argument, the socket, as the container's processes name them.
    pub(crate) command: [String; 2],
    /// Device and inode of the program.
    pub(crate) program: (u64, u64),
    /// The socket's end here. It does not block.
    pub(crate) listener: UnixListener,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    namespace: MountNamespace,
    name: String,
}

/// Plants the program `from` in the container whose init is `pid`.
pub(crate) async fn plant(pid: i32, from: PathBuf) -> Result<Planted, Error> {
    in_thread(move || plant_here(pid, &from)).await
}

fn plant_here(pid: i32, from: &Path) -> Result<Planted, Error> {
    let namespace = MountNamespace::open(pid)?;
    let mounts = ksync_procfs::mounts(pid).map_err(unread)?;
    let above = ksync_procfs::parent(pid).ok_or(Error::Ended { pid })?;
    let above = ksync_procfs::mounts(above).map_err(unread)?;
    if let Some(what) = unfit(&mounts, &above) {
        return Err(Error::NoPlace { what });
    }
    let ids = IdMaps::of(pid).map_err(unread)?;
    let (tree, listener, program) = tree(from)?;
    namespace.enter()?;
    // The tmpfs of a pod with a user namespace has no numbers for others than its own users.
    act_as(ids.user_outside(0), ids.group_outside(0));
    let dev = dev()?;
    clear(&dev);
    let name = format!("{PREFIX}{:08x}-{:08x}", *RUN, rand::random::<u32>());
    let path = format!("{DEV}/{name}");
    mkdirat(&dev, &name, Mode::from_raw_mode(0o755)).map_err(kernel("make", path.as_str()))?;
    let command = [PROGRAM, SOCKET].map(|file| format!("{path}/{file}"));
    // From here on it goes when something fails.
    let place = Some(Place { namespace, name: name.clone() });
    let planted = Planted { command, program, listener, place };
    let at =
        open_beneath(&dev, &name, OFlags::PATH | OFlags::DIRECTORY).map_err(kernel("open", path.as_str()))?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &at, "", empty).map_err(kernel("mount", path))?;
    Ok(planted)
}

/// What is wrong with the container's `/dev`, whose mounts are those, and those `above` are of the process that started it.
fn unfit(mounts: &[Mount], above: &[Mount]) -> Option<&'static str> {
    let Some(dev) = mounts.iter().rev().find(|mount| mount.point == DEV) else {
        return Some("is no mount of its own");
    };
    if dev.kind != "tmpfs" {
        return Some("is no tmpfs");
    }
    if above.iter().any(|mount| mount.device == dev.device) {
        return Some("is mounted outside of the container, too");
    }
    dev.read_only.then_some("is read-only")
}

/// A file system of its own with the program and the socket, that is nowhere yet.
fn tree(from: &Path) -> Result<(OwnedFd, UnixListener, (u64, u64)), Error> {
    let failed = |operation| kernel(operation, "a tmpfs");
    let file_system = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open"))?;
    for (key, value) in [("size", SIZE), ("nr_inodes", ENTRIES), ("mode", "0755")] {
        fsconfig_set_string(&file_system, key, value).map_err(failed("configure"))?;
    }
    fsconfig_create(&file_system).map_err(failed("make"))?;
    let tree = fsmount(&file_system, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(failed("mount"))?;
    let of_file = |operation, path: &Path| {
        let path = path.display().to_string();
        move |source| Error::Kernel { operation, path, source }
    };
    let mut source = File::open(from).map_err(of_file("open", from))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    // Nobody may read it, so nobody may trace its process or take what that has open.
    let program = openat(&tree, PROGRAM, flags, Mode::from_raw_mode(0o111)).map_err(failed("write in"))?;
    let mut program = File::from(program);
    io::copy(&mut source, &mut program).and_then(|_| program.flush()).map_err(of_file("copy", from))?;
    let about = program.metadata().map_err(of_file("stat", from))?;
    program.set_permissions(fs::Permissions::from_mode(0o111)).map_err(of_file("chmod", from))?;
    drop(program);
    let socket = PathBuf::from(format!("{OWN_DESCRIPTORS}/{}/{SOCKET}", tree.as_raw_fd()));
    let listener = UnixListener::bind(&socket).map_err(of_file("bind", &socket))?;
    listener.set_nonblocking(true).map_err(of_file("bind", &socket))?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).map_err(of_file("chmod", &socket))?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    set(&tree, attributes)?;
    Ok((tree, listener, (about.dev(), about.ino())))
}

fn dev() -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(DEV, flags, Mode::empty()).map_err(kernel("open", DEV))
}

/// Makes files from now on as this user and group, in this thread, which ends soon. Those that are not known stay.
fn act_as(user: Option<u32>, group: Option<u32>) {
    let (user, group) = (user.unwrap_or_default(), group.unwrap_or_default());
    // SAFETY: no memory is involved, and the credentials are this thread's alone: raw calls, not libc's for all threads.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, group);
        libc::syscall(libc::SYS_setfsuid, user);
    }
}

/// Removes what an earlier radar had no time to.
fn clear(dev: impl AsFd) {
    let own = format!("{PREFIX}{:08x}-", *RUN);
    let Ok(dir) = Dir::read_from(&dev) else { return };
    let names = dir.filter_map(|entry| Some(entry.ok()?.file_name().to_str().ok()?.to_owned()));
    for name in names.filter(|name| name.starts_with(PREFIX) && !name.starts_with(&own)) {
        if let Err(errno) = remove(&dev, &name) {
            tracing::warn!(name, %errno, "remove what an earlier radar has planted");
        }
    }
}

fn remove(dev: impl AsFd, name: &str) -> Result<(), Errno> {
    fchdir(&dev)?;
    match unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // Nothing was mounted.
        Ok(()) | Err(Errno::INVAL) => unlinkat(dev, name, AtFlags::REMOVEDIR),
        Err(errno) => Err(errno),
    }
}

impl Place {
    fn clear(&self) -> Result<(), Error> {
        self.namespace.enter()?;
        remove(dev()?, &self.name).map_err(kernel("remove", self.name.as_str()))
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        // A container that has ended has taken all with it.
        let told = |cleared: Result<(), Error>| {
            if let Err(error) = cleared {
                tracing::debug!(error = ksync_common::chain(&error), "remove what was planted");
            }
        };
        if let Err(error) = own_thread(move || place.clear(), told) {
            tracing::warn!(error = ksync_common::chain(&error), "remove what was planted");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{super::fake::Namespace, *};

    const OWN_DEV: &str = "mount -t tmpfs dev /dev";

    #[tokio::test]
    async fn what_is_planted_can_be_run_and_not_be_read_or_changed_and_goes() {
        let Some(container) = Namespace::with(OWN_DEV) else {
            return ksync_skip::skipped("no mount namespaces here");
        };
        // Of a radar that was killed.
        container.says("mkdir -p /dev/.ksync-00000000-1; mount -t tmpfs x /dev/.ksync-00000000-1");
        let planted = plant(container.pid(), "/bin/true".into()).await.unwrap();
        let [program, socket] = &planted.command;
        let dir = program.strip_suffix("/prove").unwrap();
        assert_eq!(container.says("ls -A /dev"), dir.strip_prefix("/dev/").unwrap());
        assert_eq!(container.says(&format!("{program} && echo runs")), "runs");
        assert_eq!(
            container.says(&format!("stat -c %a,%F {program} {socket}")),
            "111,regular file\n666,socket"
        );
        assert_eq!(
            container.says(&format!("rm {program} || chmod 777 {program} || touch {dir}/x || echo no")),
            "no"
        );
        let options = container.says(&format!("grep ' {dir} ' /proc/self/mounts"));
        assert!(options.contains(" ro,nosuid,nodev,"), "{options}");
        let there = format!("/proc/{}/root{program}", container.pid());
        let about = fs::metadata(&there).unwrap();
        assert_eq!(planted.program, (about.dev(), about.ino()));
        drop(planted);
        let begun = Instant::now();
        while !container.says("ls -A /dev").is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{}", container.says("ls -A /dev"));
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn nothing_is_planted_where_it_could_be_seen_from_elsewhere() {
        let cases = [
            (":", "is no tmpfs"),
            ("mount -o bind /dev /dev", "is no tmpfs"),
            ("mount -o ro -t tmpfs d /dev", "is read-only"),
        ];
        for (line, what) in cases {
            let Some(container) = Namespace::with(line) else {
                return ksync_skip::skipped("no mount namespaces here");
            };
            let refused = plant(container.pid(), "/bin/true".into()).await.unwrap_err();
            assert!(matches!(refused, Error::NoPlace { what: said } if said == what), "{line}: {refused:?}");
        }
    }

    #[test]
    fn a_tmpfs_that_is_mounted_outside_too_is_unfit() {
        let mounts = |device: &str, kind: &str| {
            ksync_procfs::parse_mounts(&format!(
                "36 35 {device} / /dev rw,nosuid - {kind} tmpfs rw,size=65536k\n"
            ))
        };
        assert_eq!(unfit(&mounts("0:7", "tmpfs"), &mounts("0:6", "devtmpfs")), None);
        assert_eq!(
            unfit(&mounts("0:7", "tmpfs"), &mounts("0:7", "tmpfs")),
            Some("is mounted outside of the container, too")
        );
        assert_eq!(unfit(&[], &[]), Some("is no mount of its own"));
    }
}
