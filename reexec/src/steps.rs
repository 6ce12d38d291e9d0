//! The steps of a replacement: what is done to a held process, in which order, and how each step is undone.
//!
//! Invariant: before anything is touched, the seccomp filters of the thread were found to let every call through that it
//! needs. Up to [`descendants::end`] everything can be undone, and is when anything fails. What follows it is the execve of
//! a program that was found sound before anything was touched.

use std::{
    io,
    time::{Duration, Instant},
};

use ksync_procfs::{Seccomp, Status};

use crate::{
    calls::{self, Call, Needs},
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
/// How long children that have ended, and signals that are on their way, may be taken from the process. Somebody may go on
/// making them.
const REST: Duration = Duration::from_secs(2);
/// Only descriptors above are closed.
const STANDARD: u64 = 2;

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
    /// Descriptors were not to be closed by an execve.
    KeepOpen,
}

/// Replaces the program of `process`. Returns how many descendants were ended.
///
/// Runs on a thread of its own, which ends afterwards.
pub(crate) fn replace(process: i32, program: &Program, grace: Duration) -> Result<usize, Error> {
    let begun = Instant::now();
    let mut threads = Threads::hold(process, begun + HOLD)?;
    look_before(&threads, process, program, !grace.is_zero())?;
    let exiting = if grace.is_zero() { None } else { ask_to_end(&mut threads, process, grace)? };
    let tid = exiting.or_else(|| threads.first()).ok_or(Error::Ended)?;
    let mut ended = 0;
    if !threads.is_stopped(tid) {
        // The parent of a vfork: only its child's end lets it leave the kernel.
        ended += end_descendants(process)?;
        threads.stop(tid, Instant::now() + HOLD)?;
    }
    let needs = needs(tid, program)?;
    let remote = look(process, tid, &needs)?.take()?;
    let mut replacement = Replacement { remote, threads, process, needs, base: 0, undo: Vec::new() };
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

/// What a replacement needs of the process of this thread.
fn needs(tid: i32, program: &Program) -> Result<Needs, Error> {
    Ok(Needs {
        length: Page::new(program, 0).bytes.len() as u64,
        directory: program.directory.is_some(),
        umask: program.umask,
        ignored: ignored(tid)?,
        open: open_descriptors(tid)?,
    })
}

/// Looks at a stopped thread, whose filters let all calls through that its replacement needs.
fn look(process: i32, tid: i32, needs: &Needs) -> Result<RemoteThread, Error> {
    let remote = RemoteThread::look(process, tid)?;
    calls::needed(needs).iter().try_for_each(|call| remote.may(call))?;
    Ok(remote)
}

/// Looks, while nothing of the process has been touched, whether a thread may make the calls that can't be looked at right
/// before they are made: with `asked`, where the program is to be asked to end first, any may be the one that makes them.
fn look_before(threads: &Threads, process: i32, program: &Program, asked: bool) -> Result<(), Error> {
    let first = threads.first().ok_or(Error::Ended)?;
    if asked {
        let needs = needs(first, program)?;
        for tid in threads.stopped() {
            look(process, tid, &needs)?.may_be_kept()?;
        }
    }
    if threads.is_stopped(first) {
        return Ok(());
    }
    // Nobody can read the filters of a thread that is in the kernel, and only the end of its child lets it out.
    let status = Status::of(first).map_err(|_| Error::Ended)?;
    if status.seccomp == Seccomp::Off { Ok(()) } else { Err(Error::Unreadable) }
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
    /// It is stopped and can be put back.
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
    needs: Needs,
    /// Where the page stands in the process.
    base: u64,
    /// The steps that were taken, in their order.
    undo: Vec<Undo>,
}

impl Replacement {
    fn run(&mut self, program: &Program) -> Result<usize, Failure> {
        let page = self.prepare(program)?;
        let ended = end_descendants(self.process)?;
        // Who rewrites it may be among those that have ended.
        self.remote.place_instruction()?;
        self.reap()?;
        self.take_signals(&page)?;
        self.exec(&page)?;
        Ok(ended)
    }

    /// Everything that can be undone.
    fn prepare(&mut self, program: &Program) -> Result<Page, Error> {
        let length = self.needs.length;
        self.base = self.remote.call(calls::mmap(length))?;
        self.undo.push(Undo::Unmap { length });
        let page = Page::new(program, self.base);
        self.remote.write(self.base, &page.bytes)?;
        if self.needs.directory {
            let old = self.remote.call(calls::openat(page.here))?;
            self.undo.push(Undo::Directory { descriptor: old });
            self.remote.call(calls::chdir(page.directory))?;
        }
        if let Some(mask) = self.needs.umask {
            let old = self.remote.call(calls::umask(mask.into()))?;
            self.undo.push(Undo::Umask { old });
        }
        // execve resets what is handled to the default, but leaves what is ignored.
        for signal in self.needs.ignored.clone() {
            let old = page.old_action(signal);
            self.remote.call(calls::rt_sigaction(signal, page.zero, old))?;
            self.undo.push(Undo::Action { signal, old });
        }
        // Timers of timer_create are deleted by the execve, these are not.
        for timer in TIMERS {
            let old = page.old_timer(timer);
            self.remote.call(calls::setitimer(timer, page.zero, old))?;
            self.undo.push(Undo::Timer { timer, old });
        }
        self.close_on_exec()?;
        Ok(page)
    }

    fn close_on_exec(&mut self) -> Result<(), Error> {
        self.undo.push(Undo::KeepOpen);
        match self.remote.call(calls::close_range()) {
            Ok(_) => Ok(()),
            // Older than Linux 5.11, or a filter that does not know it.
            Err(Error::Call { .. } | Error::Forbidden { .. }) => self.set_flags(libc::FD_CLOEXEC),
            Err(error) => Err(error),
        }
    }

    /// Of all descriptors that an execve would have left open.
    fn set_flags(&mut self, flags: i32) -> Result<(), Error> {
        for descriptor in self.needs.open.clone() {
            self.remote.call(calls::fcntl(descriptor, flags))?;
        }
        Ok(())
    }

    /// Takes note of the children that have ended, so that the new program does not inherit them.
    fn reap(&mut self) -> Result<(), Error> {
        self.exhaust(calls::wait4(), |_, child| child != 0)
    }

    /// Takes the old program's signals that are on their way.
    fn take_signals(&mut self, page: &Page) -> Result<(), Error> {
        let taken = calls::rt_sigtimedwait(page.left_over, page.zero);
        self.exhaust(taken, |remote, signal| {
            remote.keep(i32::try_from(signal).unwrap_or_default());
            true
        })
    }

    /// Makes a call again and again while `more` says so, until it fails.
    fn exhaust(
        &mut self,
        call: Call<u64>,
        more: impl Fn(&mut RemoteThread, u64) -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + REST;
        while Instant::now() < deadline {
            match self.remote.call(call) {
                Ok(result) if more(&mut self.remote, result) => {}
                Ok(_) | Err(Error::Call { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        tracing::warn!(process = self.process, call = call.name, "there is no end of it");
        Ok(())
    }

    fn exec(&mut self, page: &Page) -> Result<(), Failure> {
        let tid = self.remote.tid();
        self.remote.enter(calls::execve(page.program, page.arguments, page.environment))?;
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
                self.remote.stands_at_end("execve")?;
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

    /// Undoes what was done, last first. What can't be undone is said in the log; the rest still is, unless the process
    /// makes no more calls for us.
    fn put_back(mut self) {
        while let Some(step) = self.undo.pop() {
            let undone = self.undo(step);
            let Err(error) = undone else { continue };
            tracing::error!(process = self.process, error = ksync_common::chain(&error), "undo");
            if !matches!(error, Error::Call { .. }) {
                break;
            }
        }
        let Self { remote, process, .. } = self;
        if let Err(error) = remote.put_back() {
            tracing::error!(process, error = ksync_common::chain(&error), "put a thread back");
        }
    }

    fn undo(&mut self, step: Undo) -> Result<(), Error> {
        let call = match step {
            Undo::KeepOpen => return self.set_flags(0),
            Undo::Directory { descriptor } => {
                let gone = self.remote.call(calls::fchdir(descriptor));
                gone.and(self.remote.call(calls::close(descriptor)))?;
                return Ok(());
            }
            Undo::Timer { timer, old } => {
                self.rewind(old)?;
                calls::setitimer(timer, old, 0)
            }
            Undo::Unmap { length } => calls::munmap(self.base, length),
            Undo::Umask { old } => calls::umask(old),
            Undo::Action { signal, old } => calls::rt_sigaction(signal, old, 0),
        };
        self.remote.call(call).map(drop)
    }

    /// A timer that has gone off is set again by the kernel when its signal is taken, and counts nothing until then.
    fn rewind(&self, old: u64) -> Result<(), Error> {
        let mut record = [0; 32];
        self.remote.read(old, &mut record)?;
        let (interval, left) = record.split_at(16);
        if left.iter().any(|byte| *byte != 0) { Ok(()) } else { self.remote.write(old + 16, interval) }
    }
}

/// Signals that a thread's process ignores.
fn ignored(tid: i32) -> Result<Vec<u64>, Error> {
    let of = |source: io::Error| Error::Kernel { operation: "read the status of", source };
    let status = Status::of(tid).map_err(|error| of(error.into()))?;
    let ignored = status.ignored.ok_or_else(|| of(io::ErrorKind::InvalidData.into()))?;
    Ok((1..=SIGNALS).filter(|signal| ignored & 1 << (signal - 1) != 0).collect())
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
