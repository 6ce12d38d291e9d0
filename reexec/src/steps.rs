//! The steps of a replacement: what is done to a held process, in which order, and how each step is undone.
//!
//! Invariant: up to [`descendants::end`] everything can be undone, and is when anything fails. What follows it is the
//! execve of a program that was found sound before anything was touched.

use std::{
    io,
    time::{Duration, Instant},
};

use ksync_procfs::Status;

use crate::{
    descendants,
    error::Error,
    page::{Page, SIGNALS, TIMERS},
    program::Program,
    ptrace::{self, Stop},
    remote_syscall::RemoteThread,
    threads::Threads,
};

/// How long holding the threads may take.
const HOLD: Duration = Duration::from_secs(3);
/// How long the descendants may take to end after they were killed.
const DESCENDANTS: Duration = Duration::from_secs(3);
/// How long the execve may take.
const EXEC: Duration = Duration::from_secs(10);
/// Only descriptors above are closed.
const STANDARD: u64 = 2;
/// close_range(2): to be closed by the execve, so that nothing is lost if that fails.
const CLOSE_ON_EXEC: u64 = 4;

/// A step that was taken, with what takes it back.
enum Undo {
    Unmap {
        length: u64,
    },
    /// Goes back to the directory that is open as this descriptor of the process.
    Directory {
        descriptor: u64,
    },
    Umask {
        old: u64,
    },
    /// The old action of a signal is at this address of the process.
    Action {
        signal: u64,
        old: u64,
    },
    /// What the timer had left is at this address of the process.
    Timer {
        timer: u64,
        old: u64,
    },
    /// These descriptors were not to be closed by an execve.
    KeepOpen {
        descriptors: Vec<u64>,
    },
}

/// Replaces the program of `process`. Returns how many descendants were ended.
///
/// Runs on a thread of its own, which ends afterwards.
pub(crate) fn replace(process: i32, program: &Program, grace: Duration) -> Result<usize, Error> {
    let begun = Instant::now();
    let mut threads = Threads::hold(process, begun + HOLD)?;
    let exiting = if grace.is_zero() { None } else { ask_to_end(&mut threads, process, grace)? };
    let tid = exiting.or_else(|| threads.first()).ok_or(Error::Ended)?;
    let mut ended = 0;
    if !threads.is_stopped(tid) {
        // The parent of a vfork: only its child's end lets it leave the kernel.
        ended += end_descendants(process)?;
        threads.stop(tid, Instant::now() + HOLD)?;
    }
    let remote = RemoteThread::take(process, tid)?;
    let mut replacement = Replacement { remote, threads, process, base: 0, undo: Vec::new() };
    match replacement.run(program) {
        Ok(more) => Ok(ended + more),
        Err(Failure::Undoable(error)) => {
            replacement.put_back();
            Err(error)
        }
        Err(Failure::Final(error)) => {
            // It is not stopped, or not ours to let go of: the kernel does what its options say.
            replacement.threads.forget(tid);
            Err(error)
        }
    }
}

/// Asks the program to end, and keeps the process from ending with it; the thread that was about to, none when none was
/// in time.
fn ask_to_end(threads: &mut Threads, process: i32, grace: Duration) -> Result<Option<i32>, Error> {
    let of = |source| Error::Kernel { operation: "ask for its end", source };
    threads.let_run().map_err(of)?;
    let found = ptrace::terminate(process).and_then(|()| threads.catch_exit(Instant::now() + grace));
    let found = found.map_err(|source| match source.raw_os_error() {
        // Nobody is left to wait for: a signal has ended it.
        Some(libc::ECHILD | libc::ESRCH) => Error::Ended,
        _ => of(source),
    })?;
    threads.halt(Instant::now() + HOLD)?;
    Ok(found)
}

fn end_descendants(process: i32) -> Result<usize, Error> {
    let ended = descendants::end(process, Instant::now() + DESCENDANTS);
    let ended = ended.map_err(|source| Error::Kernel { operation: "end the children of", source })?;
    ended.ok_or(Error::Slow("end the children of"))
}

/// A failure with what it means for the thread.
enum Failure {
    /// It stands at the end of a system call and can be put back.
    Undoable(Error),
    /// It is gone, or a new program.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Ended | Error::Lost(_) => Self::Final(error),
            error => Self::Undoable(error),
        }
    }
}

/// A replacement that is under way.
struct Replacement {
    remote: RemoteThread,
    threads: Threads,
    process: i32,
    /// Where the page stands in the process.
    base: u64,
    /// The steps that were taken, in their order.
    undo: Vec<Undo>,
}

impl Replacement {
    fn run(&mut self, program: &Program) -> Result<usize, Failure> {
        let page = self.prepare(program)?;
        let ended = end_descendants(self.process)?;
        self.reap()?;
        self.take_signals(&page)?;
        self.exec(&page)?;
        Ok(ended)
    }

    /// Everything that can be undone.
    fn prepare(&mut self, program: &Program) -> Result<Page, Error> {
        let length = Page::new(program, 0).bytes.len() as u64;
        let protection = (libc::PROT_READ | libc::PROT_WRITE).unsigned_abs().into();
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).unsigned_abs().into();
        self.base = self.remote.call("mmap", libc::SYS_mmap, [0, length, protection, flags, u64::MAX, 0])?;
        self.undo.push(Undo::Unmap { length });
        let page = Page::new(program, self.base);
        self.remote.write(self.base, &page.bytes)?;
        if program.directory.is_some() {
            self.change_directory(&page)?;
        }
        if let Some(umask) = program.umask {
            let old = self.remote.call("umask", libc::SYS_umask, [umask.into(), 0, 0, 0, 0, 0])?;
            self.undo.push(Undo::Umask { old });
        }
        // execve resets what is handled to the default, but leaves what is ignored.
        let ignored = ignored(self.remote.tid())?;
        for signal in (1..=SIGNALS).filter(|signal| ignored & 1 << (signal - 1) != 0) {
            let old = page.old_action(signal);
            self.remote.call("rt_sigaction", libc::SYS_rt_sigaction, [signal, page.zero, old, 8, 0, 0])?;
            self.undo.push(Undo::Action { signal, old });
        }
        // Timers of timer_create are deleted by the execve, these are not.
        for timer in TIMERS {
            let old = page.old_timer(timer);
            self.remote.call("setitimer", libc::SYS_setitimer, [timer, page.zero, old, 0, 0, 0])?;
            self.undo.push(Undo::Timer { timer, old });
        }
        self.close_on_exec()?;
        Ok(page)
    }

    fn change_directory(&mut self, page: &Page) -> Result<(), Error> {
        let at = i64::from(libc::AT_FDCWD).cast_unsigned();
        let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC).unsigned_abs().into();
        let old = self.remote.call("openat", libc::SYS_openat, [at, page.here, flags, 0, 0, 0])?;
        self.undo.push(Undo::Directory { descriptor: old });
        self.remote.call("chdir", libc::SYS_chdir, [page.directory, 0, 0, 0, 0, 0]).map(drop)
    }

    fn close_on_exec(&mut self) -> Result<(), Error> {
        let open = open_descriptors(self.remote.tid())?;
        self.undo.push(Undo::KeepOpen { descriptors: open.clone() });
        let all = [STANDARD + 1, u32::MAX.into(), CLOSE_ON_EXEC, 0, 0, 0];
        match self.remote.call("close_range", libc::SYS_close_range, all) {
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
        self.remote.call("fcntl", libc::SYS_fcntl, [fd, set, flags.unsigned_abs().into(), 0, 0, 0]).map(drop)
    }

    /// Takes note of the children that have ended, so that the new program does not inherit them.
    fn reap(&mut self) -> Result<(), Error> {
        let any = i64::from(-1).cast_unsigned();
        let flags = (libc::WNOHANG | libc::__WALL).cast_unsigned().into();
        loop {
            match self.remote.call("wait4", libc::SYS_wait4, [any, 0, flags, 0, 0, 0]) {
                Ok(0) | Err(Error::Call { .. }) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the old program's signals that are on their way.
    fn take_signals(&mut self, page: &Page) -> Result<(), Error> {
        let arguments = [page.left_over, 0, page.zero, 8, 0, 0];
        loop {
            match self.remote.call("rt_sigtimedwait", libc::SYS_rt_sigtimedwait, arguments) {
                Ok(signal) => self.remote.keep(i32::try_from(signal).unwrap_or_default()),
                Err(Error::Call { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn exec(&mut self, page: &Page) -> Result<(), Failure> {
        let tid = self.remote.tid();
        let arguments = [page.program, page.arguments, page.environment, 0, 0, 0];
        self.remote.enter(libc::SYS_execve, arguments)?;
        self.remote.release_life()?;
        let of = |source| Failure::Final(Error::Kernel { operation: "wait for the execve of", source });
        ptrace::resume_to_syscall(tid, 0).map_err(of)?;
        // The new program has the process's number, whichever thread has called.
        let deadline = Instant::now() + EXEC;
        let found = ptrace::until(deadline, || {
            self.threads.reap(tid)?;
            match ptrace::look(tid)? {
                Some(Stop::Ended) if tid != self.process => {}
                Some(stop) => return Ok(Some(stop)),
                None => {}
            }
            if tid == self.process {
                Ok(None)
            } else {
                Ok(ptrace::look(self.process)?.filter(|stop| *stop == Stop::Exec))
            }
        });
        match found.map_err(of)? {
            Some(Stop::Exec) => {}
            // Nothing was replaced: the call has come back.
            Some(Stop::Syscall) => {
                let error = self.remote.result("execve").err();
                return Err(Failure::Undoable(error.unwrap_or(Error::Lost("execve"))));
            }
            Some(Stop::Ended) => return Err(Failure::Final(Error::Ended)),
            Some(_) => return Err(Failure::Final(Error::Lost("execve"))),
            None => return Err(Failure::Final(Error::Slow("wait for the execve of"))),
        }
        self.threads.forget(tid);
        self.threads.forget(self.process);
        ptrace::set_signal_mask(self.process, 0).map_err(of)?;
        ptrace::detach(self.process).map_err(of)
    }

    /// Undoes what was done, last first. What can't be undone is said in the log; the rest still is.
    fn put_back(mut self) {
        while let Some(step) = self.undo.pop() {
            let undone = match step {
                Undo::Unmap { length } => {
                    self.call("munmap", libc::SYS_munmap, [self.base, length, 0, 0, 0, 0])
                }
                Undo::Directory { descriptor: fd } => {
                    let gone = self.call("fchdir", libc::SYS_fchdir, [fd, 0, 0, 0, 0, 0]);
                    gone.and(self.call("close", libc::SYS_close, [fd, 0, 0, 0, 0, 0]))
                }
                Undo::Umask { old } => self.call("umask", libc::SYS_umask, [old, 0, 0, 0, 0, 0]),
                Undo::Action { signal, old } => {
                    self.call("rt_sigaction", libc::SYS_rt_sigaction, [signal, old, 0, 8, 0, 0])
                }
                Undo::Timer { timer, old } => self
                    .rewind(old)
                    .and_then(|()| self.call("setitimer", libc::SYS_setitimer, [timer, old, 0, 0, 0, 0])),
                Undo::KeepOpen { descriptors } => {
                    descriptors.into_iter().try_for_each(|fd| self.set_flags(fd, 0))
                }
            };
            if let Err(error) = undone {
                tracing::error!(process = self.process, error = ksync_common::chain(&error), "undo");
            }
        }
        let Self { remote, process, .. } = self;
        if let Err(error) = remote.put_back() {
            tracing::error!(process, error = ksync_common::chain(&error), "put a thread back");
        }
    }

    /// A timer that has gone off is set again by the kernel when its signal is taken, and counts nothing until then.
    fn rewind(&self, old: u64) -> Result<(), Error> {
        let mut record = [0; 32];
        self.remote.read(old, &mut record)?;
        let (interval, left) = record.split_at(16);
        if left.iter().any(|byte| *byte != 0) { Ok(()) } else { self.remote.write(old + 16, interval) }
    }

    fn call(&mut self, name: &'static str, number: libc::c_long, arguments: [u64; 6]) -> Result<(), Error> {
        self.remote.call(name, number, arguments).map(drop)
    }
}

/// Signals that a thread's process ignores, bit 0 for signal 1.
fn ignored(tid: i32) -> Result<u64, Error> {
    let of = |source: io::Error| Error::Kernel { operation: "read the status of", source };
    let status = Status::of(tid).map_err(|error| of(error.into()))?;
    status.ignored.ok_or_else(|| of(io::ErrorKind::InvalidData.into()))
}

/// Descriptors above the standard ones that an execve would leave open.
fn open_descriptors(tid: i32) -> Result<Vec<u64>, Error> {
    let listed = ksync_procfs::descriptors(tid);
    let listed = listed
        .map_err(|error| Error::Kernel { operation: "list the open files of", source: error.into() })?;
    let stays_open = |fd: &i32| !ksync_procfs::closes_on_exec(tid, *fd).is_ok_and(|closes| closes);
    let open = listed.into_iter().filter(stays_open).filter_map(|fd| u64::try_from(fd).ok());
    Ok(open.filter(|fd| *fd > STANDARD).collect())
}
