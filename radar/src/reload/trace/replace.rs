//! The exec: what is done to a held process, in which order, and how each step is undone.
//!
//! Invariant: up to [`family::end`] everything can be undone, and is when anything fails. What follows it is the
//! execve of a program that was found sound before anything was touched.

use std::{
    ffi::CString,
    fs,
    time::{Duration, Instant},
};

use super::{
    Error, Start,
    kernel::{self, Stop},
    puppet::Puppet,
    threads::Threads,
};
use crate::reload::family;

/// How long holding the threads may take.
const HOLD: Duration = Duration::from_secs(3);
/// How long the descendants may take to end after they were killed.
const FAMILY: Duration = Duration::from_secs(3);
/// How long the execve may take.
const EXEC: Duration = Duration::from_secs(10);
/// Only descriptors above are closed.
const STANDARD: u64 = 2;
/// close_range(2): to be closed by the execve, so that nothing is lost if that fails.
const CLOSE_ON_EXEC: u64 = 4;
/// Size of the kernel's `struct sigaction` and `struct itimerval` on both machines.
const RECORD: u64 = 32;
/// setitimer(2): real, virtual and profiling time.
const TIMERS: [u64; 3] = [0, 1, 2];
/// One such record for each signal and timer.
const ROOM: usize = 32 * (64 + TIMERS.len());
/// Signals that come from timers and files of the old program: none of them is the new one's.
const LEFT_OVER: [i32; 6] =
    [libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF, libc::SIGIO, libc::SIGPIPE, libc::SIGURG];
/// Real-time signals, all of them the old program's.
const REAL_TIME: u64 = u64::MAX << 31;

/// A step that was taken, with what takes it back.
enum Undo {
    Unmap {
        length: u64,
    },
    /// The working directory is behind this descriptor.
    Directory(u64),
    Mask(u64),
    /// The old record of this signal is at this address.
    Action(u64, u64),
    /// The old record of this timer is at this address.
    Timer(u64, u64),
    /// These descriptors were not to be closed by an execve.
    KeepOpen(Vec<u64>),
}

/// What is written into the process: strings, pointers to them, and room for what the kernel gives back. Each field is
/// an address in the process.
struct Page {
    bytes: Vec<u8>,
    base: u64,
    program: u64,
    arguments: u64,
    environment: u64,
    /// The working directory to be, and `.`.
    dir: u64,
    here: u64,
    /// 32 zero bytes: the default action, a timer that is off, no time to wait.
    zero: u64,
    signals: u64,
    /// One record for each signal and timer.
    room: u64,
}

impl Page {
    /// Laid out as it shall stand at `base`.
    fn new(start: &Start, base: u64) -> Self {
        let empty = Self {
            bytes: Vec::new(),
            base,
            program: 0,
            arguments: 0,
            environment: 0,
            dir: 0,
            here: 0,
            zero: 0,
            signals: 0,
            room: 0,
        };
        let mut page = empty;
        page.zero = page.put(&[0; 32]);
        let signals = LEFT_OVER.iter().fold(REAL_TIME, |set, signal| set | 1 << (signal - 1));
        page.signals = page.put(&signals.to_ne_bytes());
        page.room = page.put(&[0; ROOM]);
        page.arguments = page.list(&start.arguments);
        page.environment = page.list(&start.environment);
        page.program = page.put(start.program.as_bytes_with_nul());
        page.dir = page.put(start.dir.as_deref().unwrap_or_default().to_bytes_with_nul());
        page.here = page.put(c".".to_bytes_with_nul());
        page
    }

    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// Strings, and after them the pointers to them with a null at the end; the address of the first pointer.
    fn list(&mut self, texts: &[CString]) -> u64 {
        let mut pointers: Vec<u64> = texts.iter().map(|text| self.put(text.as_bytes_with_nul())).collect();
        pointers.push(0);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.put(&pointers.into_iter().flat_map(u64::to_ne_bytes).collect::<Vec<_>>())
    }
}

/// Replaces the program of `process`. Returns how many descendants were ended.
///
/// Runs on a thread of its own, which ends afterwards.
pub(super) fn replace(process: i32, start: &Start) -> Result<usize, Error> {
    let begun = Instant::now();
    let mut threads = Threads::hold(process, begun + HOLD)?;
    let exiting = if start.grace.is_zero() { None } else { take_leave(&mut threads, process, start.grace)? };
    let tid = exiting.or_else(|| threads.first()).ok_or(Error::Ended)?;
    let mut ended = 0;
    if !threads.is_stopped(tid) {
        // The parent of a vfork: only its child's end lets it leave the kernel.
        ended += end_family(process)?;
        threads.stop(tid, Instant::now() + HOLD)?;
    }
    let puppet = Puppet::take(process, tid)?;
    let mut work = Work { puppet, threads, process, base: 0, undo: Vec::new() };
    match work.run(start) {
        Ok(more) => Ok(ended + more),
        Err(Failed::Before(error)) => {
            work.put_back();
            Err(error)
        }
        Err(Failed::After(error)) => {
            // It is not stopped, or not ours to let go of: the kernel does what its options say.
            work.threads.forget(tid);
            Err(error)
        }
    }
}

/// Asks the program to end, and keeps the process from ending with it; the thread that was about to, none when none was
/// in time.
fn take_leave(threads: &mut Threads, process: i32, grace: Duration) -> Result<Option<i32>, Error> {
    let of = |source| Error::Kernel { operation: "ask for its end", source };
    threads.let_run().map_err(of)?;
    let found = kernel::terminate(process).and_then(|()| threads.catch_exit(Instant::now() + grace));
    let found = found.map_err(|source| match source.raw_os_error() {
        // Nobody is left to wait for: a signal has ended it.
        Some(libc::ECHILD | libc::ESRCH) => Error::Ended,
        _ => of(source),
    })?;
    threads.halt(Instant::now() + HOLD)?;
    Ok(found)
}

fn end_family(process: i32) -> Result<usize, Error> {
    let ended = family::end(process, Instant::now() + FAMILY);
    let ended = ended.map_err(|source| Error::Kernel { operation: "end the children of", source })?;
    ended.ok_or(Error::Slow("end the children of"))
}

/// A failure with what it means for the thread.
enum Failed {
    /// It stands at the end of a system call and can be put back.
    Before(Error),
    /// It is gone, or a new program.
    After(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error {
            Error::Ended | Error::Lost(_) => Self::After(error),
            error => Self::Before(error),
        }
    }
}

struct Work {
    puppet: Puppet,
    threads: Threads,
    process: i32,
    base: u64,
    undo: Vec<Undo>,
}

impl Work {
    fn run(&mut self, start: &Start) -> Result<usize, Failed> {
        let page = self.prepare(start)?;
        let ended = end_family(self.process)?;
        self.reap()?;
        self.flush(&page)?;
        self.exec(&page)?;
        Ok(ended)
    }

    /// Everything that can be undone.
    fn prepare(&mut self, start: &Start) -> Result<Page, Error> {
        let length = Page::new(start, 0).bytes.len() as u64;
        let protection = (libc::PROT_READ | libc::PROT_WRITE).unsigned_abs().into();
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).unsigned_abs().into();
        self.base = self.puppet.call("mmap", libc::SYS_mmap, [0, length, protection, flags, u64::MAX, 0])?;
        self.undo.push(Undo::Unmap { length });
        let page = Page::new(start, self.base);
        self.puppet.write(self.base, &page.bytes)?;
        if start.dir.is_some() {
            self.change_directory(&page)?;
        }
        if let Some(umask) = start.umask {
            let old = self.puppet.call("umask", libc::SYS_umask, [umask.into(), 0, 0, 0, 0, 0])?;
            self.undo.push(Undo::Mask(old));
        }
        // execve resets what is handled to the default, but leaves what is ignored.
        let ignored = ignored(self.puppet.tid())?;
        for signal in (1..=64).filter(|signal| ignored & 1 << (signal - 1) != 0) {
            let old = page.room + RECORD * (signal - 1);
            self.puppet.call("rt_sigaction", libc::SYS_rt_sigaction, [signal, page.zero, old, 8, 0, 0])?;
            self.undo.push(Undo::Action(signal, old));
        }
        // Timers of timer_create are deleted by the execve, these are not.
        for timer in TIMERS {
            let old = page.room + RECORD * (64 + timer);
            self.puppet.call("setitimer", libc::SYS_setitimer, [timer, page.zero, old, 0, 0, 0])?;
            self.undo.push(Undo::Timer(timer, old));
        }
        self.close_on_exec()?;
        Ok(page)
    }

    fn change_directory(&mut self, page: &Page) -> Result<(), Error> {
        let at = i64::from(libc::AT_FDCWD).cast_unsigned();
        let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC).unsigned_abs().into();
        let old = self.puppet.call("openat", libc::SYS_openat, [at, page.here, flags, 0, 0, 0])?;
        self.undo.push(Undo::Directory(old));
        self.puppet.call("chdir", libc::SYS_chdir, [page.dir, 0, 0, 0, 0, 0]).map(drop)
    }

    fn close_on_exec(&mut self) -> Result<(), Error> {
        let open = open_descriptors(self.puppet.tid())?;
        self.undo.push(Undo::KeepOpen(open.clone()));
        let all = [STANDARD + 1, u32::MAX.into(), CLOSE_ON_EXEC, 0, 0, 0];
        match self.puppet.call("close_range", libc::SYS_close_range, all) {
            Ok(_) => Ok(()),
            // Older than Linux 5.11, or a filter that does not know it.
            Err(Error::Call { .. }) => {
                open.into_iter().try_for_each(|fd| self.set_flags(fd, libc::FD_CLOEXEC))
            }
            Err(error) => Err(error),
        }
    }

    fn set_flags(&mut self, fd: u64, flags: i32) -> Result<(), Error> {
        let set = libc::F_SETFD.unsigned_abs().into();
        self.puppet.call("fcntl", libc::SYS_fcntl, [fd, set, flags.unsigned_abs().into(), 0, 0, 0]).map(drop)
    }

    /// Takes note of the children that have ended, so that the new program does not inherit them.
    fn reap(&mut self) -> Result<(), Error> {
        let any = i64::from(-1).cast_unsigned();
        let flags = (libc::WNOHANG | libc::__WALL).cast_unsigned().into();
        loop {
            match self.puppet.call("wait4", libc::SYS_wait4, [any, 0, flags, 0, 0, 0]) {
                Ok(0) | Err(Error::Call { .. }) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the old program's signals that are on their way.
    fn flush(&mut self, page: &Page) -> Result<(), Error> {
        let arguments = [page.signals, 0, page.zero, 8, 0, 0];
        loop {
            match self.puppet.call("rt_sigtimedwait", libc::SYS_rt_sigtimedwait, arguments) {
                Ok(signal) => self.puppet.keep(i32::try_from(signal).unwrap_or_default()),
                Err(Error::Call { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn exec(&mut self, page: &Page) -> Result<(), Failed> {
        let tid = self.puppet.tid();
        let arguments = [page.program, page.arguments, page.environment, 0, 0, 0];
        self.puppet.enter(libc::SYS_execve, arguments)?;
        self.puppet.release_life()?;
        let of = |source| Failed::After(Error::Kernel { operation: "wait for the execve of", source });
        kernel::resume_to_syscall(tid, 0).map_err(of)?;
        // The new program has the process's number, whichever thread has called.
        let deadline = Instant::now() + EXEC;
        let found = kernel::until(deadline, || {
            self.threads.reap(tid)?;
            match kernel::look(tid)? {
                Some(Stop::Ended) if tid != self.process => {}
                Some(stop) => return Ok(Some(stop)),
                None => {}
            }
            if tid == self.process {
                Ok(None)
            } else {
                Ok(kernel::look(self.process)?.filter(|stop| *stop == Stop::Exec))
            }
        });
        match found.map_err(of)? {
            Some(Stop::Exec) => {}
            // Nothing was replaced: the call has come back.
            Some(Stop::Syscall) => {
                let error = self.puppet.result("execve").err();
                return Err(Failed::Before(error.unwrap_or(Error::Lost("execve"))));
            }
            Some(Stop::Ended) => return Err(Failed::After(Error::Ended)),
            Some(_) => return Err(Failed::After(Error::Lost("execve"))),
            None => return Err(Failed::After(Error::Slow("wait for the execve of"))),
        }
        self.threads.forget(tid);
        self.threads.forget(self.process);
        kernel::set_signal_mask(self.process, 0).map_err(of)?;
        kernel::detach(self.process).map_err(of)
    }

    /// Undoes what was done, last first. What can't be undone is said in the log; the rest still is.
    fn put_back(mut self) {
        while let Some(step) = self.undo.pop() {
            let undone = match step {
                Undo::Unmap { length } => {
                    self.call("munmap", libc::SYS_munmap, [self.base, length, 0, 0, 0, 0])
                }
                Undo::Directory(fd) => {
                    let gone = self.call("fchdir", libc::SYS_fchdir, [fd, 0, 0, 0, 0, 0]);
                    gone.and(self.call("close", libc::SYS_close, [fd, 0, 0, 0, 0, 0]))
                }
                Undo::Mask(mask) => self.call("umask", libc::SYS_umask, [mask, 0, 0, 0, 0, 0]),
                Undo::Action(signal, old) => {
                    self.call("rt_sigaction", libc::SYS_rt_sigaction, [signal, old, 0, 8, 0, 0])
                }
                Undo::Timer(timer, old) => self
                    .rewind(old)
                    .and_then(|()| self.call("setitimer", libc::SYS_setitimer, [timer, old, 0, 0, 0, 0])),
                Undo::KeepOpen(open) => open.into_iter().try_for_each(|fd| self.set_flags(fd, 0)),
            };
            if let Err(error) = undone {
                tracing::error!(process = self.process, error = ksync_common::chain(&error), "undo");
            }
        }
        let Self { puppet, process, .. } = self;
        if let Err(error) = puppet.put_back() {
            tracing::error!(process, error = ksync_common::chain(&error), "put a thread back");
        }
    }

    /// A timer that has gone off is set again by the kernel when its signal is taken, and counts nothing until then.
    fn rewind(&self, old: u64) -> Result<(), Error> {
        let mut record = [0; 32];
        self.puppet.read(old, &mut record)?;
        let (interval, left) = record.split_at(16);
        if left.iter().any(|byte| *byte != 0) { Ok(()) } else { self.puppet.write(old + 16, interval) }
    }

    fn call(&mut self, name: &'static str, number: libc::c_long, arguments: [u64; 6]) -> Result<(), Error> {
        self.puppet.call(name, number, arguments).map(drop)
    }
}

/// Signals that a thread's process ignores, bit 0 for signal 1.
fn ignored(tid: i32) -> Result<u64, Error> {
    let of = |source| Error::Kernel { operation: "read the status of", source };
    let status = fs::read_to_string(format!("/proc/{tid}/status")).map_err(of)?;
    let field = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = field.and_then(|field| u64::from_str_radix(field.trim(), 16).ok());
    ignored.ok_or_else(|| of(std::io::ErrorKind::InvalidData.into()))
}

/// Descriptors above the standard ones that an execve would leave open.
fn open_descriptors(tid: i32) -> Result<Vec<u64>, Error> {
    let of = |source| Error::Kernel { operation: "list the open files of", source };
    let mut open = Vec::new();
    for entry in fs::read_dir(format!("/proc/{tid}/fdinfo")).map_err(of)? {
        let entry = entry.map_err(of)?;
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if fd > STANDARD && !fs::read_to_string(entry.path()).is_ok_and(|info| closes_on_exec(&info)) {
            open.push(fd);
        }
    }
    Ok(open)
}

/// Reads the flags in `/proc/PID/fdinfo/N` (octal).
fn closes_on_exec(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_CLOEXEC != 0)
}
