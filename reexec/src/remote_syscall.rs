//! System calls that a stopped thread makes for us, before it is put back as it was.
//!
//! Invariant: between [`RemoteThread::take`] and [`RemoteThread::put_back`] the thread runs nothing but the calls that it is
//! told to make: all its signals are blocked, and what can't be blocked is kept for later. If this process ends
//! meanwhile, the kernel kills the thread's process rather than let it run on with registers that are not its own.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    ptrace::{self, EXIT_KILL, PLAIN, SUSPEND_SECCOMP, Stop},
    registers::{Registers, with_instruction},
};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(2);
/// How long a call that took longer may take to give up after it was interrupted.
const GIVE_UP: Duration = Duration::from_secs(30);
/// Offset of `rseq_cs` in the restartable-sequences area, and of its fields in what it points to (linux/rseq.h).
const RSEQ_CS: u64 = 8;
const RSEQ_FIELDS: [u64; 3] = [8, 16, 24];

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
}

impl RemoteThread {
    /// Takes a thread that is stopped by an interrupt.
    pub(crate) fn take(process: i32, tid: i32) -> Result<Self, Error> {
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
        let mut remote = Self { process, tid, at, text, registers, mask, kept: Vec::new(), memory };
        let begun = remote.begin();
        // Registers are untouched so far: what was begun can be undone where the thread stands.
        if let Err(error) = begun {
            remote.let_be();
            return Err(error);
        }
        remote.registers = remote.outside_sequence();
        Ok(remote)
    }

    fn begin(&self) -> Result<(), Error> {
        let tid = self.tid;
        ptrace::poke(tid, self.at, with_instruction(self.text)).map_err(of("write into the text of"))?;
        ptrace::set_signal_mask(tid, u64::MAX).map_err(of("block the signals of"))?;
        // Without it the program's own filters are asked, and most let through what is done here.
        if let Err(error) = ptrace::set_options(tid, PLAIN | EXIT_KILL | SUSPEND_SECCOMP) {
            tracing::debug!(%error, "seccomp filters stay in force");
            ptrace::set_options(tid, PLAIN | EXIT_KILL).map_err(of("set the options of"))?;
        }
        Ok(())
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
    pub(crate) fn call(
        &mut self,
        name: &'static str,
        number: libc::c_long,
        arguments: [u64; 6],
    ) -> Result<u64, Error> {
        self.enter(number, arguments)?;
        ptrace::resume_to_syscall(self.tid, 0).map_err(of("run"))?;
        let end = self.end(name)?;
        if end != Stop::Syscall {
            return Err(Error::Lost(name));
        }
        self.result(name)
    }

    /// Brings it to the entry of a system call.
    pub(crate) fn enter(&mut self, number: libc::c_long, arguments: [u64; 6]) -> Result<(), Error> {
        let registers = self.registers.calling(self.at, number.cast_unsigned(), arguments);
        ptrace::set_registers(self.tid, &registers).map_err(of("set the registers of"))?;
        ptrace::resume_to_syscall(self.tid, 0).map_err(of("run"))?;
        match self.next(Instant::now() + CALL)? {
            Some(Stop::Syscall) => Ok(()),
            Some(Stop::Ended) => Err(Error::Ended),
            Some(_) => Err(Error::Lost("a system call")),
            None => Err(Error::Slow("enter a system call in")),
        }
    }

    /// Waits for the end of a call; one that takes too long is interrupted.
    fn end(&mut self, name: &'static str) -> Result<Stop, Error> {
        let mut found = self.next(Instant::now() + CALL)?;
        if found.is_none() {
            ptrace::interrupt(self.tid).map_err(of("interrupt"))?;
            found = self.next(Instant::now() + GIVE_UP)?;
        }
        match found {
            Some(Stop::Ended) => Err(Error::Ended),
            Some(stop) => Ok(stop),
            None => Err(Error::Lost(name)),
        }
    }

    /// The next stop that is not a signal's.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Stop>, Error> {
        loop {
            match ptrace::wait(self.tid, deadline).map_err(of("wait for"))? {
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
        let suspended = ptrace::set_options(self.tid, PLAIN | SUSPEND_SECCOMP);
        suspended.or_else(|_| ptrace::set_options(self.tid, PLAIN)).map_err(of("set the options of"))
    }

    /// Puts the thread back as it was taken, stopped. It stands at the end of a system call.
    pub(crate) fn put_back(mut self) -> Result<(), Error> {
        // Only from a stop on the way to its program does the kernel restart the call that it was in.
        let deadline = Instant::now() + CALL;
        loop {
            ptrace::stop_later(self.tid, 0).map_err(of("interrupt"))?;
            match ptrace::wait(self.tid, deadline).map_err(of("wait for"))? {
                Some(Stop::Interrupted | Stop::Group) => break,
                Some(Stop::Ended) => return Err(Error::Ended),
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

fn of(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| match source.raw_os_error() {
        // What a thread that is no longer stopped answers: it was killed.
        Some(libc::ESRCH) => Error::Ended,
        _ => Error::Kernel { operation, source },
    }
}
