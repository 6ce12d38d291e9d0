//! Every system call that a replacement has the process make, and which of them one needs.
//!
//! Invariant: a call that is made is one of these, so that what [`needed`] lists is all that a filter is asked about
//! before the process is touched. Arguments are `u64` where a call is made, and `Option<u64>` where it is only judged:
//! none for what is known later (an address in the process, a descriptor of it).
//!
//! What they point to is in the memory of the process, where a process that shares it can change it at any time. Nothing
//! is gained by that: the call is made by the process, with its own user, capabilities, namespaces and filters, and
//! radar adds none of its power to it. It could have made the same call itself. A path that is changed has it execute
//! another program or go to another directory, which it may; a signal action or timer is its own. execve under a tracer
//! gives a set-uid program what it gives it without one (`LSM_UNSAFE_PTRACE` is for tracers without CAP_SYS_PTRACE), and
//! nothing under `no_new_privs`.

use crate::page::TIMERS;

/// Only descriptors above are closed.
const STANDARD: u64 = 2;
/// close_range(2): to be closed by the execve, so that nothing is lost if that fails.
const CLOSE_ON_EXEC: u64 = 4;
/// Size of the kernel's signal set, in bytes.
const SET: u64 = 8;

/// A system call; arguments as above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call<A> {
    /// As its man page has it.
    pub(crate) name: &'static str,
    pub(crate) number: libc::c_long,
    pub(crate) arguments: [A; 6],
}

impl<A: From<u64>> Call<A> {
    fn new<const N: usize>(name: &'static str, number: libc::c_long, given: [A; N]) -> Self {
        let mut given = given.into_iter();
        let arguments = [(); 6].map(|()| given.next().unwrap_or_else(|| 0.into()));
        Self { name, number, arguments }
    }
}

impl From<Call<u64>> for Call<Option<u64>> {
    fn from(call: Call<u64>) -> Self {
        let Call { name, number, arguments } = call;
        Self { name, number, arguments: arguments.map(Some) }
    }
}

/// A private page or more, readable and writable, anywhere.
pub(crate) fn mmap<A: From<u64>>(length: u64) -> Call<A> {
    let protection = u64::from((libc::PROT_READ | libc::PROT_WRITE).unsigned_abs());
    let flags = u64::from((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).unsigned_abs());
    Call::new("mmap", libc::SYS_mmap, [0, length, protection, flags, u64::MAX, 0].map(A::from))
}

pub(crate) fn munmap<A: From<u64>>(base: A, length: u64) -> Call<A> {
    Call::new("munmap", libc::SYS_munmap, [base, length.into()])
}

/// Opens a directory only to come back to it.
pub(crate) fn openat<A: From<u64>>(path: A) -> Call<A> {
    let here = i64::from(libc::AT_FDCWD).cast_unsigned();
    let flags = u64::from((libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC).unsigned_abs());
    Call::new("openat", libc::SYS_openat, [here.into(), path, flags.into()])
}

pub(crate) fn chdir<A: From<u64>>(path: A) -> Call<A> {
    Call::new("chdir", libc::SYS_chdir, [path])
}

pub(crate) fn fchdir<A: From<u64>>(descriptor: A) -> Call<A> {
    Call::new("fchdir", libc::SYS_fchdir, [descriptor])
}

pub(crate) fn close<A: From<u64>>(descriptor: A) -> Call<A> {
    Call::new("close", libc::SYS_close, [descriptor])
}

pub(crate) fn umask<A: From<u64>>(mask: A) -> Call<A> {
    Call::new("umask", libc::SYS_umask, [mask])
}

pub(crate) fn rt_sigaction<A: From<u64>>(signal: A, new: A, old: A) -> Call<A> {
    Call::new("rt_sigaction", libc::SYS_rt_sigaction, [signal, new, old, SET.into()])
}

pub(crate) fn setitimer<A: From<u64>>(timer: u64, new: A, old: A) -> Call<A> {
    Call::new("setitimer", libc::SYS_setitimer, [timer.into(), new, old])
}

/// All descriptors but the standard ones are closed by the execve.
pub(crate) fn close_range<A: From<u64>>() -> Call<A> {
    let given = [STANDARD + 1, u32::MAX.into(), CLOSE_ON_EXEC].map(A::from);
    Call::new("close_range", libc::SYS_close_range, given)
}

/// Sets the flags of a descriptor (`FD_CLOEXEC` or 0).
pub(crate) fn fcntl<A: From<u64>>(descriptor: A, flags: i32) -> Call<A> {
    let [set, flags] = [libc::F_SETFD, flags].map(|number| u64::from(number.unsigned_abs()));
    Call::new("fcntl", libc::SYS_fcntl, [descriptor, set.into(), flags.into()])
}

/// Takes note of a child that has ended, if there is one.
pub(crate) fn wait4<A: From<u64>>() -> Call<A> {
    let flags = (libc::WNOHANG | libc::__WALL).cast_unsigned().into();
    Call::new("wait4", libc::SYS_wait4, [i64::from(-1).cast_unsigned(), 0, flags].map(A::from))
}

/// Takes one of the signals in a set that are on their way; `time` is how long to wait for one.
pub(crate) fn rt_sigtimedwait<A: From<u64>>(set: A, time: A) -> Call<A> {
    Call::new("rt_sigtimedwait", libc::SYS_rt_sigtimedwait, [set, 0.into(), time, SET.into()])
}

pub(crate) fn execve<A: From<u64>>(path: A, arguments: A, environment: A) -> Call<A> {
    Call::new("execve", libc::SYS_execve, [path, arguments, environment])
}

/// No call at all: what is put in the place of one that is not to be made. Filters are asked about it like about others.
pub(crate) fn none() -> Call<Option<u64>> {
    Call { name: "none", number: -1, arguments: [None; 6] }
}

/// What decides which calls a replacement needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Bytes of the page.
    pub(crate) length: u64,
    /// Whether it goes to another directory.
    pub(crate) directory: bool,
    /// The file mode creation mask to be.
    pub(crate) umask: Option<u32>,
    /// Signals that are ignored, from 1.
    pub(crate) ignored: Vec<u64>,
    /// Descriptors that an execve would leave open.
    pub(crate) open: Vec<u64>,
}

/// All calls that a replacement cannot do without, with those that undo it. [`close_range`] is none of them: `fcntl` for each
/// descriptor does the same. Of signals and descriptors any is meant, so that one answer stands for all of them.
pub(crate) fn needed(needs: &Needs) -> Vec<Call<Option<u64>>> {
    let later = None;
    let mut calls = vec![mmap(needs.length), munmap(later, needs.length)];
    if needs.directory {
        calls.extend([openat(later), chdir(later), fchdir(later), close(later)]);
    }
    if let Some(mask) = needs.umask {
        calls.extend([umask(Some(mask.into())), umask(later)]);
    }
    if !needs.ignored.is_empty() {
        calls.extend([rt_sigaction(later, later, later), rt_sigaction(later, later, Some(0))]);
    }
    for timer in TIMERS {
        calls.extend([setitimer(timer, later, later), setitimer(timer, later, Some(0))]);
    }
    if !needs.open.is_empty() {
        calls.extend([fcntl(later, libc::FD_CLOEXEC), fcntl(later, 0)]);
    }
    calls.extend([wait4(), rt_sigtimedwait(later, later), execve(later, later, later)]);
    calls
}
