//! System calls that a stopped thread makes for us, before it is put back as it was.
//!
//! Invariant: between [`RemoteThread::take`] and [`RemoteThread::put_back`] the thread makes no call but those that it is
//! told to make: all its signals are blocked, and what can't be blocked is kept for later; each call is looked at when it
//! is entered, and is not made if it is another (number, arguments, machine or place). For who shares the process's memory
//! can change the instruction that is run at any time. Its seccomp filters are in force for all of it: a call is made only
//! where they let it through. If this process ends meanwhile, the kernel kills the thread's process rather than let it run
//! on with registers that are not its own.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use ksync_procfs::{Seccomp, Status};

use crate::{
    action::Action,
    calls::{self, Call},
    error::Error,
    permission::Filters,
    ptrace::{self, At, EXIT_KILL, Entry, PLAIN, Stop},
    registers::{MACHINE, Registers, after, with_instruction},
};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(2);
/// How long a call that took longer may take to give up after it was interrupted.
const GIVE_UP: Duration = Duration::from_secs(30);
/// Offset of `rseq_cs` in the restartable-sequences area, and of its fields in what it points to (linux/rseq.h).
const RSEQ_CS: u64 = 8;
const RSEQ_FIELDS: [u64; 3] = [8, 16, 24];
/// Signals of an instruction that could not be run. All signals are blocked, so that nobody else's arrive.
const FAULTS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// A thread of another process that makes system calls for this one.
pub(crate) struct RemoteThread {
    process: i32,
    tid: i32,
    /// Where the instruction for a system call stands now.
    at: u64,
    /// What stood there.
    text: u64,
    registers: Registers,
    mask: u64,
    /// Signals that were stopped on their way to it.
    kept: Vec<i32>,
    memory: File,
    filters: Filters,
}

impl RemoteThread {
    /// Looks at a thread that is stopped by an interrupt; nothing is touched yet.
    pub(crate) fn look(process: i32, tid: i32) -> Result<Self, Error> {
        let registers =
            ptrace::registers(tid).map_err(of("read the registers of"))?.ok_or(Error::OtherMachine)?;
        let mask = ptrace::signal_mask(tid).map_err(of("read the signal mask of"))?;
        let memory =
            ksync_procfs::open_memory(tid).map_err(io::Error::from).map_err(of("open the memory of"))?;
        // The entry point runs once, at the start. Where it is gone, what runs now is surely there.
        let places = [ksync_procfs::entry_point(tid).filter(|entry| *entry != 0), Some(registers.position())];
        let text =
            places.into_iter().flatten().find_map(|at| ptrace::peek(tid, at).ok().map(|text| (at, text)));
        let (at, text) = text.ok_or(Error::NoText)?;
        let filters = filters(tid)?;
        Ok(Self { process, tid, at, text, registers, mask, kept: Vec::new(), memory, filters })
    }

    /// Takes it.
    pub(crate) fn take(mut self) -> Result<Self, Error> {
        let begun = self.begin();
        // Registers are untouched so far: what was begun can be undone where the thread stands.
        if let Err(error) = begun {
            self.let_be();
            return Err(error);
        }
        self.registers = self.outside_sequence();
        Ok(self)
    }

    /// What its filters do with a call from where it makes them.
    fn action(&self, call: &Call<Option<u64>>) -> Action {
        self.filters.action(call, Some(after(self.at)))
    }

    /// Whether its filters let a call through.
    pub(crate) fn may(&self, call: &Call<Option<u64>>) -> Result<(), Error> {
        match self.action(call) {
            Action::Allow => Ok(()),
            action => Err(Error::Forbidden { name: call.name, action }),
        }
    }

    /// Whether its filters let it live when a call of its own is not made, wherever it is.
    pub(crate) fn may_be_kept(&self) -> Result<(), Error> {
        match self.filters.action(&calls::none(), None) {
            Action::Allow | Action::Fail => Ok(()),
            action => Err(Error::Held { action }),
        }
    }

    fn begin(&self) -> Result<(), Error> {
        let tid = self.tid;
        self.place_instruction()?;
        ptrace::set_signal_mask(tid, u64::MAX).map_err(of("block the signals of"))?;
        ptrace::set_options(tid, PLAIN | EXIT_KILL).map_err(of("set the options of"))
    }

    /// Writes the instruction for a system call into its text.
    pub(crate) fn place_instruction(&self) -> Result<(), Error> {
        ptrace::poke(self.tid, self.at, with_instruction(self.text)).map_err(of("write into the text of"))
    }

    /// The registers to put back: a restartable sequence that was interrupted starts from its beginning, as the
    /// kernel would have it (it forgets about it as soon as the thread runs elsewhere).
    fn outside_sequence(&self) -> Registers {
        let word = |address: u64| {
            let mut word = [0; 8];
            self.memory.read_exact_at(&mut word, address).ok().map(|()| u64::from_ne_bytes(word))
        };
        let found = || {
            let sequence = word(ptrace::rseq_area(self.tid)? + RSEQ_CS).filter(|at| *at != 0)?;
            let [start, length, abort] = RSEQ_FIELDS.map(|offset| word(sequence + offset));
            let inside = self.registers.position().wrapping_sub(start?) < length?;
            if inside { abort } else { None }
        };
        found().map_or(self.registers, |abort| self.registers.moved(abort))
    }

    /// Makes a system call; its result, where that is no error.
    pub(crate) fn call(&mut self, call: Call<u64>) -> Result<u64, Error> {
        self.enter(call)?;
        ptrace::resume_to_syscall(self.tid, 0).map_err(of("run"))?;
        self.end(call.name)?;
        self.result(call.name)
    }

    /// Brings it to the entry of a system call, and of no other.
    pub(crate) fn enter(&mut self, call: Call<u64>) -> Result<(), Error> {
        self.may(&call.into())?;
        let Call { number, arguments, .. } = call;
        let registers = self.registers.calling(self.at, number.cast_unsigned(), arguments);
        ptrace::set_registers(self.tid, &registers).map_err(of("set the registers of"))?;
        ptrace::resume_to_syscall(self.tid, 0).map_err(of("run"))?;
        match self.next(Instant::now() + CALL)? {
            Some(Stop::Syscall) => {
                let ours = Entry { machine: MACHINE, number, arguments, pointer: after(self.at) };
                match ptrace::syscall(self.tid).map_err(of("read the system call of"))? {
                    At::Entry(found) if found == ours => Ok(()),
                    At::Entry(_) => self.cancel().and(Err(Error::Changed)),
                    At::End(_) | At::None => Err(Error::Changed),
                }
            }
            Some(Stop::Ended) => Err(Error::Ended),
            Some(_) => Err(Error::Lost("a system call")),
            None => self.stop().and(Err(Error::Slow("enter a system call in"))),
        }
    }

    /// Has it not make the call at whose entry it stands, and brings it to its end. Where a filter ends the process for
    /// that, this is the end of a process that was changed from outside.
    fn cancel(&mut self) -> Result<(), Error> {
        ptrace::cancel_call(self.tid).map_err(of("cancel a system call of"))?;
        ptrace::resume_to_syscall(self.tid, 0).map_err(of("run"))?;
        match self.next(Instant::now() + CALL)? {
            Some(Stop::Syscall) => Ok(()),
            Some(Stop::Ended) => Err(Error::Ended),
            _ => Err(Error::Lost("a system call")),
        }
    }

    /// Stops it where it runs.
    fn stop(&self) -> Result<(), Error> {
        ptrace::interrupt(self.tid).map_err(of("interrupt"))?;
        match ptrace::wait(self.tid, Instant::now() + GIVE_UP).map_err(of("wait for"))? {
            Some(Stop::Ended) => Err(Error::Ended),
            Some(_) => Ok(()),
            None => Err(Error::Lost("a system call")),
        }
    }

    /// Waits for the end of a call; one that takes too long is interrupted.
    fn end(&mut self, name: &'static str) -> Result<(), Error> {
        let mut found = self.next(Instant::now() + CALL)?;
        if found.is_none() {
            ptrace::interrupt(self.tid).map_err(of("interrupt"))?;
            found = self.next(Instant::now() + GIVE_UP)?;
        }
        match found {
            Some(Stop::Syscall) => self.stands_at_end(name),
            Some(Stop::Ended) => Err(Error::Ended),
            Some(_) | None => Err(Error::Lost(name)),
        }
    }

    /// Whether the stop that it is in is the end of a call that it was told to make.
    pub(crate) fn stands_at_end(&self, name: &'static str) -> Result<(), Error> {
        match ptrace::syscall(self.tid).map_err(of("read the system call of"))? {
            At::End(pointer) if pointer == after(self.at) => Ok(()),
            _ => Err(Error::Lost(name)),
        }
    }

    /// The next stop that is not a signal's.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Stop>, Error> {
        loop {
            match ptrace::wait(self.tid, deadline).map_err(of("wait for"))? {
                Some(Stop::Signal(signal)) if FAULTS.contains(&signal) => return Err(Error::Changed),
                Some(Stop::Signal(signal)) => self.kept.push(signal),
                Some(Stop::Group | Stop::Interrupted) => {}
                other => return Ok(other),
            }
            ptrace::resume_to_syscall(self.tid, 0).map_err(of("run"))?;
        }
    }

    /// What the call gave back at whose end the thread stands.
    pub(crate) fn result(&self, name: &'static str) -> Result<u64, Error> {
        let registers = ptrace::registers(self.tid).map_err(of("read the registers of"))?;
        let result = registers.ok_or(Error::Lost(name))?.result();
        if (-4095..0).contains(&result) {
            let source = io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL));
            return Err(Error::Call { name, source });
        }
        Ok(result.cast_unsigned())
    }

    /// Writes into its memory, where it may write itself.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.memory.write_all_at(bytes, address).map_err(of("write into the memory of"))
    }

    /// Reads from its memory.
    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Error> {
        self.memory.read_exact_at(bytes, address).map_err(of("read the memory of"))
    }

    /// Gives it a signal when it is put back.
    pub(crate) fn keep(&mut self, signal: i32) {
        self.kept.push(signal);
    }

    /// It no longer dies with this process: from here on what it does is its own.
    pub(crate) fn release_life(&self) -> Result<(), Error> {
        ptrace::set_options(self.tid, PLAIN).map_err(of("set the options of"))
    }

    /// Puts the thread back as it was taken, stopped. It is stopped, at the entry of no system call.
    pub(crate) fn put_back(mut self) -> Result<(), Error> {
        // Only from a stop on the way to its program does the kernel restart the call that it was in.
        let deadline = Instant::now() + CALL;
        loop {
            ptrace::stop_later(self.tid, 0).map_err(of("interrupt"))?;
            match ptrace::wait(self.tid, deadline).map_err(of("wait for"))? {
                Some(Stop::Interrupted | Stop::Group) => break,
                Some(Stop::Ended) => return Err(Error::Ended),
                Some(Stop::Signal(signal)) if FAULTS.contains(&signal) => {}
                Some(Stop::Signal(signal)) => self.kept.push(signal),
                Some(_) => {}
                None => return Err(Error::Slow("put back")),
            }
        }
        ptrace::set_registers(self.tid, &self.registers).map_err(of("set the registers of"))?;
        self.let_be();
        for signal in &self.kept {
            ptrace::signal(self.process, self.tid, *signal).map_err(of("pass a signal on to"))?;
        }
        Ok(())
    }

    /// Undoes [`Self::begin`], as far as it came.
    fn let_be(&self) {
        let undone = [
            ptrace::poke(self.tid, self.at, self.text),
            ptrace::set_signal_mask(self.tid, self.mask),
            ptrace::set_options(self.tid, PLAIN),
        ];
        for error in undone.into_iter().filter_map(Result::err) {
            tracing::error!(tid = self.tid, %error, "put a thread back as it was");
        }
    }

    pub(crate) fn tid(&self) -> i32 {
        self.tid
    }
}

/// The filters of a stopped thread.
fn filters(tid: i32) -> Result<Filters, Error> {
    let status = Status::of(tid).map_err(io::Error::from).map_err(of("read the status of"))?;
    match status.seccomp {
        Seccomp::Off => Ok(Filters::All(Vec::new())),
        Seccomp::Strict => Ok(Filters::Strict),
        Seccomp::Filter => match ptrace::filters(tid) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(Error::Ended),
            found => found.map(Filters::All).map_err(Error::NoFilters),
        },
    }
}

fn of(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| match source.raw_os_error() {
        // What a thread that is no longer stopped answers: it was killed.
        Some(libc::ESRCH) => Error::Ended,
        _ => Error::Kernel { operation, source },
    }
}
