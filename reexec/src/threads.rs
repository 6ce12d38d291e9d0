//! All threads of a process, held still.
//!
//! Invariant: of a set that [`Threads::hold`] returned, no thread runs a further instruction of its program: it is
//! stopped, or it waits in the kernel (as the parent of a vfork does) and stops before it leaves it.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use ksync_procfs::State;

use crate::{
    error::Error,
    ptrace::{self, At, Entry, Stop},
    registers::MACHINE,
};

/// How long a thread that waits in the kernel may take to leave it before it counts as held there.
const IN_KERNEL: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Stopped,
    /// It stops before it runs again.
    Bound,
}

/// Seized threads by id. When it is dropped, those that are stopped run on.
#[derive(Debug)]
pub(crate) struct Threads {
    process: i32,
    held: BTreeMap<i32, Hold>,
}

impl Threads {
    /// Seizes the threads of `process` until a look finds no further one.
    pub(crate) fn hold(process: i32, deadline: Instant) -> Result<Self, Error> {
        let mut threads = Self { process, held: BTreeMap::new() };
        loop {
            let mut found = false;
            for tid in threads.list()? {
                found |= !threads.held.contains_key(&tid) && threads.seize(tid)?;
            }
            if !found {
                return if threads.held.is_empty() { Err(Error::Ended) } else { Ok(threads) };
            }
            threads.settle(deadline)?;
        }
    }

    fn list(&self) -> Result<Vec<i32>, Error> {
        ksync_procfs::threads(self.process).map_err(|_| Error::Ended)
    }

    /// Whether there was a living thread to seize.
    fn seize(&mut self, tid: i32) -> Result<bool, Error> {
        if self.is_dead(tid) {
            return Ok(false);
        }
        match ptrace::seize(tid).and_then(|()| ptrace::interrupt(tid)) {
            Ok(()) => {
                self.held.insert(tid, Hold::Bound);
                Ok(true)
            }
            Err(_) if self.is_dead(tid) => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(Error::Refused),
            Err(source) => Err(Error::Kernel { operation: "seize a thread of", source }),
        }
    }

    /// None when the thread is gone.
    fn state(&self, tid: i32) -> Option<State> {
        ksync_procfs::thread_state(self.process, tid)
    }

    fn is_dead(&self, tid: i32) -> bool {
        self.state(tid).is_none_or(State::has_ended)
    }

    /// Waits until each thread is held.
    fn settle(&mut self, deadline: Instant) -> Result<(), Error> {
        let patience = Instant::now() + IN_KERNEL;
        let bound: Vec<i32> =
            self.held.iter().filter(|(_, hold)| **hold == Hold::Bound).map(|(tid, _)| *tid).collect();
        for tid in bound {
            let waits =
                |threads: &Self| Instant::now() >= patience && threads.state(tid) == Some(State::DiskSleep);
            let held = ptrace::until(deadline, || match ptrace::look(tid)? {
                Some(stop) => self.take(tid, stop),
                None if waits(self) => Ok(Some(Ok(()))),
                None => Ok(None),
            });
            match held {
                Ok(Some(held)) => held?,
                Ok(None) => return Err(Error::Slow("stop all threads of")),
                Err(source) => return Err(Error::Kernel { operation: "wait for a thread of", source }),
            }
        }
        Ok(())
    }

    /// Notes what a thread that was asked to stop has come to; none when that is not yet the stop.
    fn take(&mut self, tid: i32, stop: Stop) -> io::Result<Option<Result<(), Error>>> {
        match stop {
            Stop::Interrupted => {
                self.held.insert(tid, Hold::Stopped);
                Ok(Some(Ok(())))
            }
            Stop::Group => Ok(Some(Err(Error::Stopped))),
            Stop::Ended => {
                self.held.remove(&tid);
                Ok(Some(Ok(())))
            }
            // It came first, and is the program's.
            Stop::Signal(signal) => ptrace::stop_later(tid, signal).map(|()| None),
            Stop::Syscall | Stop::Exec => ptrace::stop_later(tid, 0).map(|()| None),
            Stop::Clone => {
                self.held.entry(ptrace::started(tid)?).or_insert(Hold::Bound);
                ptrace::stop_later(tid, 0).map(|()| None)
            }
        }
    }

    /// Lets all threads run on, each up to the next system call, and those that they start with them.
    pub(crate) fn let_run(&mut self) -> io::Result<()> {
        for (tid, hold) in &mut self.held {
            if std::mem::replace(hold, Hold::Bound) == Hold::Stopped {
                ptrace::set_options(*tid, ptrace::PLAIN | ptrace::CLONES)?;
                ptrace::resume_to_syscall(*tid, 0)?;
            }
        }
        Ok(())
    }

    /// Waits until `deadline` for a thread that is about to end the process, and keeps it from that: it is stopped
    /// then. None when none did.
    pub(crate) fn catch_exit(&mut self, deadline: Instant) -> io::Result<Option<i32>> {
        ptrace::until(deadline, || {
            // All that there is to see, and only then a pause.
            while let Some((tid, stop)) = ptrace::look_at_any()? {
                self.held.entry(tid).or_insert(Hold::Bound);
                match stop {
                    Stop::Syscall if ends_process(ptrace::syscall(tid)?) => {
                        ptrace::cancel_call(tid)?;
                        ptrace::resume_to_syscall(tid, 0)?;
                        let stopped = ptrace::wait(tid, Instant::now() + IN_KERNEL)? == Some(Stop::Syscall);
                        if stopped {
                            self.held.insert(tid, Hold::Stopped);
                        }
                        return Ok(stopped.then_some(tid));
                    }
                    Stop::Ended => drop(self.held.remove(&tid)),
                    Stop::Signal(signal) => ptrace::resume_to_syscall(tid, signal)?,
                    Stop::Clone => {
                        self.held.entry(ptrace::started(tid)?).or_insert(Hold::Bound);
                        ptrace::resume_to_syscall(tid, 0)?;
                    }
                    Stop::Syscall | Stop::Exec | Stop::Interrupted | Stop::Group => {
                        ptrace::resume_to_syscall(tid, 0)?;
                    }
                }
            }
            Ok(None)
        })
    }

    /// Stops all threads again, those with them that were started meanwhile.
    pub(crate) fn halt(&mut self, deadline: Instant) -> Result<(), Error> {
        loop {
            let known = self.held.len();
            let running: Vec<i32> =
                self.held.iter().filter(|(_, hold)| **hold == Hold::Bound).map(|(tid, _)| *tid).collect();
            for tid in running {
                match ptrace::interrupt(tid) {
                    Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                        return Err(Error::Kernel { operation: "interrupt a thread of", source: error });
                    }
                    _ => {}
                }
            }
            self.settle(deadline)?;
            if self.held.len() <= known {
                return if self.held.is_empty() { Err(Error::Ended) } else { Ok(()) };
            }
        }
    }

    /// The thread that shall make the calls: the process's first one, or another where that has ended.
    pub(crate) fn first(&self) -> Option<i32> {
        self.held.keys().find(|tid| **tid == self.process).or_else(|| self.held.keys().next()).copied()
    }

    /// All that are stopped.
    pub(crate) fn stopped(&self) -> impl Iterator<Item = i32> {
        self.held.iter().filter(|(_, hold)| **hold == Hold::Stopped).map(|(tid, _)| *tid)
    }

    /// Whether a thread is stopped, not only bound to.
    pub(crate) fn is_stopped(&self, tid: i32) -> bool {
        self.held.get(&tid) == Some(&Hold::Stopped)
    }

    /// Waits until a thread that was held in the kernel has left it.
    pub(crate) fn stop(&mut self, tid: i32, deadline: Instant) -> Result<(), Error> {
        if self.is_stopped(tid) {
            return Ok(());
        }
        let held = ptrace::until(deadline, || match ptrace::look(tid)? {
            Some(stop) => self.take(tid, stop),
            None => Ok(None),
        });
        match held {
            Ok(Some(held)) => held?,
            Ok(None) => return Err(Error::Slow("stop the main thread of")),
            Err(source) => return Err(Error::Kernel { operation: "wait for a thread of", source }),
        }
        if self.is_stopped(tid) { Ok(()) } else { Err(Error::Ended) }
    }

    /// Takes note of the threads that have ended, but `caller` and the process's first one, whose number `caller` takes:
    /// while a traced thread that has is not taken note of, an execve waits for it.
    pub(crate) fn reap(&mut self, caller: i32) -> io::Result<()> {
        let others = self.held.keys().filter(|tid| ![caller, self.process].contains(*tid));
        let others: Vec<i32> = others.copied().collect();
        for tid in others {
            if ptrace::look(tid)? == Some(Stop::Ended) {
                self.held.remove(&tid);
            }
        }
        Ok(())
    }

    /// Is no longer this set's to let go of.
    pub(crate) fn forget(&mut self, tid: i32) {
        self.held.remove(&tid);
    }
}

/// Whether a thread is about to end its process.
fn ends_process(at: At) -> bool {
    matches!(at, At::Entry(Entry { machine: MACHINE, number: libc::SYS_exit_group, .. }))
}

impl Drop for Threads {
    fn drop(&mut self) {
        for (tid, hold) in &self.held {
            if *hold == Hold::Stopped
                && let Err(error) = ptrace::detach(*tid)
                && error.raw_os_error() != Some(libc::ESRCH)
            {
                tracing::warn!(tid, %error, "let go of a thread");
            }
            // One that is not stopped is let go of by the kernel, when this thread ends.
        }
    }
}
