//! What a node's syncthing is left with when it begins: two directories in an empty root, a loopback that nobody else has, and
//! no power over anything else.
//!
//! Invariant: whatever can't be taken away is an error, and no syncthing.
//!
//! Runs in a process of its own, with one thread, that is the first of a new PID namespace (pid_namespaces(7)). Calls: prctl(2),
//! unshare(2), fsopen(2), open_tree(2), move_mount(2), chroot(2), capset(2), setrlimit(2),
//! execveat(2).
#![allow(unsafe_code)]

use std::{
    convert::Infallible,
    ffi::{CString, OsStr},
    fs, io,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
    ptr,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, open},
    io::Errno,
    ioctl::{Opcode, Setter, ioctl},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
        OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, mount_remount,
        move_mount, open_tree,
    },
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
    process::{
        Resource, Rlimit, Signal, chdir, chroot, fchdir, set_parent_process_death_signal, setrlimit, setsid,
    },
    thread::{
        CapabilitySet, CapabilitySets, UnshareFlags, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, unshare_unsafe,
    },
};

/// How much the Go runtime tries to get along with, and how often it looks: 57 MB become 36.
const MEMORY: [(&str, &str); 2] = [("GOMEMLIMIT", "24MiB"), ("GOGC", "25")];
/// Bytes of memory of its own, touched or not: twice what it has while it moves files. Beyond it Go ends it, and it starts anew.
///
/// The kernel looks when more is mapped, and not where a mapping replaces a reservation, as Go's do (`may_expand_vm`,
/// `mm/mmap.c`): one allocation may go beyond, and the next ends it. How large that one may be is the other limit's matter.
const MOST_MEMORY: u64 = 192 << 20;
/// Bytes of addresses. Go reserves 1.22 GiB when it starts, and 64 MiB at a time for what it allocates.
const MOST_ADDRESSES: u64 = 1536 << 20;
/// Where the kernel looks first when memory is short: proc_pid_oom_score_adj(5).
const FIRST_TO_GO: &str = "1000";
/// The directory of the empty file system that becomes the root.
const ROOT: &str = "/root";

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A system call failed.
    #[error("{operation}")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// Nobody would end it.
    #[error("the parent process has ended")]
    Orphan,
}

fn kernel<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Kernel { operation, source: error.into() }
}

/// Turns this process into a syncthing with the `home` and the directory `spools`, killed by the kernel when the thread that
/// started it ends. The other end of its standard input has to be held there. Returns only on failure.
pub(crate) fn become_syncthing(binary: &Path, home: &Path, spools: &Path) -> Error {
    match become_or_fail(binary, home, spools) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn become_or_fail(binary: &Path, home: &Path, spools: &Path) -> Result<Infallible, Error> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(kernel("end with the parent"))?;
    // The parent is in another PID namespace, where its number can't be asked for.
    if hung_up().map_err(kernel("look for the parent"))? {
        return Err(Error::Orphan);
    }
    fs::write("/proc/self/oom_score_adj", FIRST_TO_GO).map_err(kernel("be the first to go"))?;
    for (resource, most) in
        [(Resource::Core, 0), (Resource::Data, MOST_MEMORY), (Resource::As, MOST_ADDRESSES)]
    {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(kernel("limit what it may have"))?;
    }
    setsid().map_err(kernel("leave the session"))?;
    let program =
        open(binary, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(kernel("open syncthing"))?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let null = null.map_err(kernel("open `/dev/null`"))?;
    // SAFETY: this process has one thread, and shares nothing of this with another.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC) }
        .map_err(kernel("make namespaces"))?;
    raise_loopback().map_err(kernel("raise the loopback"))?;
    enter_empty_root(&[home, spools])?;
    // SAFETY: both are open descriptors, and nothing owns the standard input.
    if unsafe { libc::dup2(null.as_raw_fd(), libc::STDIN_FILENO) } < 0 {
        return Err(kernel("close the standard input")(io::Error::last_os_error()));
    }
    drop_privileges()?;
    Err(Error::Kernel { operation: "run syncthing", source: execute(program.as_raw_fd(), binary, home) })
}

/// Whether nobody holds the other end of the standard input.
fn hung_up() -> rustix::io::Result<bool> {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(polled[0].revents().contains(PollFlags::HUP))
}

/// A new network namespace has a loopback that is down: netdevice(7).
#[allow(clippy::cast_possible_truncation, reason = "requests have 32 bits, and this flag is 1")]
fn raise_loopback() -> rustix::io::Result<()> {
    const RAISE: Opcode = libc::SIOCSIFFLAGS as Opcode;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all bytes of it may be 0.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the call reads an `ifreq`, which this is.
    unsafe { ioctl(&socket, Setter::<RAISE, libc::ifreq>::new(request)) }
}

/// Makes a root that has `dirs`, under their names, and nothing else; what was the root is out of reach. It is not the root of the
/// mount namespace: who is in a chroot gets no user namespace, in which he would have capabilities (clone(2), EPERM).
fn enter_empty_root(dirs: &[&Path]) -> Result<(), Error> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(kernel("keep mounts to itself"))?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mut trees = Vec::new();
    for dir in dirs {
        trees.push(open_tree(CWD, *dir, clone).map_err(kernel("clone the mount of a directory"))?);
    }
    let root = empty_file_system().map_err(kernel("make an empty file system"))?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&root, "", CWD, "/", empty).map_err(kernel("mount the empty file system"))?;
    fchdir(&root).map_err(kernel("go to the empty file system"))?;
    chroot(".").map_err(kernel("go to the empty file system"))?;
    let bare = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSYMFOLLOW;
    for (dir, tree) in dirs.iter().zip(&trees) {
        let at = Path::new(ROOT).join(dir.strip_prefix("/").unwrap_or(dir));
        fs::create_dir_all(&at).map_err(kernel("make a directory"))?;
        move_mount(tree, "", CWD, &at, empty).map_err(kernel("mount a directory"))?;
        mount_remount(&at, MountFlags::BIND | bare, c"").map_err(kernel("bar programs and devices"))?;
    }
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | bare, c"")
        .map_err(kernel("close the root to writing"))?;
    chroot(ROOT).map_err(kernel("take the empty file system as the root"))?;
    chdir("/").map_err(kernel("go to the root"))
}

fn empty_file_system() -> rustix::io::Result<std::os::fd::OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "size", "64k")?;
    fsconfig_set_string(&fs, "mode", "755")?;
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// No capability, and no program to get one from (capabilities(7)).
fn drop_privileges() -> Result<(), Error> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // An older kernel does not know the newest.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(kernel("bound the capabilities")(errno)),
        }
    }
    clear_ambient_capability_set().map_err(kernel("clear the ambient capabilities"))?;
    set_no_new_privs(true).map_err(kernel("renounce privileges"))?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(kernel("drop the capabilities"))
}

/// Returns only on failure. The root does not have the program, so it is run by its descriptor.
fn execute(program: i32, binary: &Path, home: &Path) -> io::Error {
    let mut command = syncthing::command(binary, home);
    // It looks for one, and finds nothing.
    command.env("HOME", home).envs(MEMORY);
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let arguments = std::iter::once(command.get_program()).chain(command.get_args()).map(text);
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let variables = variables.map(|(name, value)| text(&[name, value].join(OsStr::new("="))));
    let both = || Ok((arguments.collect::<Result<Vec<_>, _>>()?, variables.collect::<Result<Vec<_>, _>>()?));
    let (arguments, variables): (Vec<CString>, Vec<CString>) = match both() {
        Ok(both) => both,
        Err::<_, std::ffi::NulError>(error) => return error.into(),
    };
    let pointers =
        |texts: &[CString]| texts.iter().map(|t| t.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
    let (argv, envp) = (pointers(&arguments), pointers(&variables));
    // SAFETY: both are arrays of C strings that outlive the call, with a null pointer at the end.
    unsafe { libc::fexecve(program, argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}
