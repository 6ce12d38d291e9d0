//! ptrace(2) and waitpid(2), each call once, as safe functions over thread ids and numbers.
//!
//! Invariant: nothing here waits without a deadline. The kernel has no wait with a limit for a traced thread, so it
//! is asked again and again, with a tenth of a millisecond between. All calls for one tracee come from the thread
//! that seized it; when that thread ends, the kernel lets go of what it still holds.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_long},
    io, ptr,
    time::{Duration, Instant},
};

use super::registers::Registers;

const SEIZE: c_long = 0x4206;
const INTERRUPT: c_long = 0x4207;
const PEEK_DATA: c_long = 2;
const POKE_DATA: c_long = 5;
const CONTINUE: c_long = 7;
const DETACH: c_long = 17;
const TO_SYSCALL: c_long = 24;
const SET_OPTIONS: c_long = 0x4200;
const GET_REGSET: c_long = 0x4204;
const SET_REGSET: c_long = 0x4205;
const GET_SIGMASK: c_long = 0x420a;
const SET_SIGMASK: c_long = 0x420b;
const GET_RSEQ: c_long = 0x420f;
/// General registers among the register sets of an ELF core file.
const NT_PRSTATUS: usize = 1;
const EVENT_EXEC: c_int = 4;
const EVENT_STOP: c_int = 128;

/// Stops at system calls are told from signals, and execve is reported.
pub(super) const PLAIN: usize = 0x1 | 0x10;
/// The tracee dies with its tracer rather than run on with registers that are not its own.
pub(super) const EXIT_KILL: usize = 1 << 20;
/// Its seccomp filters are not asked. Needs CAP_SYS_ADMIN, and a tracer without filters.
pub(super) const SUSPEND_SECCOMP: usize = 1 << 21;

/// Between two looks at a tracee.
const PAUSE: Duration = Duration::from_micros(100);

/// What a tracee has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It was interrupted.
    Interrupted,
    /// It takes part in a stop of its whole process (SIGSTOP and its like).
    Group,
    /// At the entry or the end of a system call.
    Syscall,
    /// It is a new program.
    Exec,
    /// It is about to get this signal.
    Signal(c_int),
    /// It is gone.
    Ended,
}

/// Asks the kernel. `data` is a number or an address, as the request has it.
fn ptrace(request: c_long, tid: i32, addr: usize, data: usize) -> io::Result<()> {
    // SAFETY: every caller in this file passes numbers, or the address of a live local of the size that the request
    // reads or writes; the call itself touches no other memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, request, c_long::from(tid), addr, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Begins to trace a thread without stopping it.
pub(super) fn seize(tid: i32) -> io::Result<()> {
    ptrace(SEIZE, tid, 0, PLAIN)
}

/// Asks a thread to stop.
pub(super) fn interrupt(tid: i32) -> io::Result<()> {
    ptrace(INTERRUPT, tid, 0, 0)
}

/// Lets a stopped thread run, with a signal (0 for none).
pub(super) fn resume(tid: i32, signal: c_int) -> io::Result<()> {
    ptrace(CONTINUE, tid, 0, number(signal))
}

/// Lets a stopped thread run up to the next entry or end of a system call.
pub(super) fn resume_to_syscall(tid: i32) -> io::Result<()> {
    ptrace(TO_SYSCALL, tid, 0, 0)
}

/// Lets go of a stopped thread.
pub(super) fn detach(tid: i32) -> io::Result<()> {
    ptrace(DETACH, tid, 0, 0)
}

pub(super) fn set_options(tid: i32, options: usize) -> io::Result<()> {
    ptrace(SET_OPTIONS, tid, 0, options)
}

fn number(signal: c_int) -> usize {
    usize::try_from(signal).unwrap_or_default()
}

/// What has happened to a tracee since the last look; none when nothing has.
pub(super) fn look(tid: i32) -> io::Result<Option<Stop>> {
    let mut status = 0;
    // SAFETY: `status` is a live local that the call writes.
    let found = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
    match found {
        0 => Ok(None),
        found if found > 0 => Ok(Some(stop_of(status))),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            // It ended as one thread of many, or became another one's number.
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(Some(Stop::Ended)),
            error => Err(error),
        },
    }
}

fn stop_of(status: c_int) -> Stop {
    if !libc::WIFSTOPPED(status) {
        return Stop::Ended;
    }
    let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
    match (event, signal) {
        (EVENT_STOP, libc::SIGTRAP) => Stop::Interrupted,
        (EVENT_STOP, _) => Stop::Group,
        (EVENT_EXEC, _) => Stop::Exec,
        (0, signal) if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        (_, signal) => Stop::Signal(signal),
    }
}

/// Looks until `found` has a value; none when the deadline is over.
pub(super) fn until<T>(
    deadline: Instant,
    mut found: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    loop {
        if let Some(value) = found()? {
            return Ok(Some(value));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits for the next stop of a tracee; none when the deadline is over.
pub(super) fn wait(tid: i32, deadline: Instant) -> io::Result<Option<Stop>> {
    until(deadline, || look(tid))
}

/// A buffer and how much of it counts, as the kernel takes it.
fn vector<T>(value: &mut T) -> libc::iovec {
    libc::iovec { iov_base: ptr::from_mut(value).cast(), iov_len: size_of::<T>() }
}

/// The general registers of a stopped thread; none when it does not run this machine's native instructions.
pub(super) fn registers(tid: i32) -> io::Result<Option<Registers>> {
    let mut registers = Registers::default();
    let mut vector = vector(&mut registers);
    ptrace(GET_REGSET, tid, NT_PRSTATUS, &raw mut vector as usize)?;
    Ok((vector.iov_len == size_of::<Registers>()).then_some(registers))
}

pub(super) fn set_registers(tid: i32, registers: &Registers) -> io::Result<()> {
    let mut registers = *registers;
    let mut vector = vector(&mut registers);
    ptrace(SET_REGSET, tid, NT_PRSTATUS, &raw mut vector as usize)
}

/// Eight bytes of a stopped thread's memory, whatever the protection of their page.
pub(super) fn peek(tid: i32, address: u64) -> io::Result<u64> {
    let mut word: u64 = 0;
    ptrace(PEEK_DATA, tid, at(address), &raw mut word as usize)?;
    Ok(word)
}

/// Replaces eight bytes of a stopped thread's memory, whatever the protection of their page.
pub(super) fn poke(tid: i32, address: u64, word: u64) -> io::Result<()> {
    ptrace(POKE_DATA, tid, at(address), at(word))
}

/// Both machines that are supported have addresses of 64 bits.
#[allow(clippy::cast_possible_truncation)]
const fn at(address: u64) -> usize {
    address as usize
}

/// The blocked signals of a stopped thread, bit 0 for signal 1.
pub(super) fn signal_mask(tid: i32) -> io::Result<u64> {
    let mut mask: u64 = 0;
    ptrace(GET_SIGMASK, tid, size_of::<u64>(), &raw mut mask as usize)?;
    Ok(mask)
}

pub(super) fn set_signal_mask(tid: i32, mask: u64) -> io::Result<()> {
    let mut mask = mask;
    ptrace(SET_SIGMASK, tid, size_of::<u64>(), &raw mut mask as usize)
}

/// `struct ptrace_rseq_configuration`.
#[repr(C)]
#[derive(Default)]
struct RseqConfiguration {
    pointer: u64,
    size: u32,
    signature: u32,
    flags: u32,
    pad: u32,
}

/// Address of a stopped thread's restartable-sequences area (rseq(2)); none when it has none, or the kernel does not
/// tell.
pub(super) fn rseq_area(tid: i32) -> Option<u64> {
    let mut found = RseqConfiguration::default();
    ptrace(GET_RSEQ, tid, size_of::<RseqConfiguration>(), &raw mut found as usize).ok()?;
    (found.pointer != 0).then_some(found.pointer)
}

/// Sends a signal to one thread.
pub(super) fn signal(process: i32, tid: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: only numbers are passed.
    let result = unsafe {
        libc::syscall(libc::SYS_tgkill, c_long::from(process), c_long::from(tid), c_long::from(signal))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{Stop, stop_of};

    #[test]
    fn each_stop_is_told_from_the_others() {
        let stopped = |event: i32, signal: i32| stop_of(event << 16 | signal << 8 | 0x7f);
        assert_eq!(stopped(128, libc::SIGTRAP), Stop::Interrupted);
        assert_eq!(stopped(128, libc::SIGSTOP), Stop::Group);
        assert_eq!(stopped(4, libc::SIGTRAP), Stop::Exec);
        assert_eq!(stopped(0, libc::SIGTRAP | 0x80), Stop::Syscall);
        assert_eq!(stopped(0, libc::SIGTRAP), Stop::Signal(libc::SIGTRAP));
        assert_eq!(stopped(0, libc::SIGTERM), Stop::Signal(libc::SIGTERM));
        assert_eq!((stop_of(9), stop_of(0x100)), (Stop::Ended, Stop::Ended));
    }
}
