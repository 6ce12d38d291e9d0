//! ptrace(2), waitpid(2) and tgkill(2), each call once, as safe functions over thread ids and numbers. Constants and
//! structures are those of `include/uapi/linux/ptrace.h`.
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

use crate::{filter::Instruction, registers::Registers};

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
const GET_EVENT: c_long = 0x4201;
const GET_CALL: c_long = 0x420e;
const GET_FILTER: c_long = 0x420c;
/// General registers among the register sets of an ELF core file.
const NT_PRSTATUS: usize = 1;
const EVENT_CLONE: c_int = 3;
const EVENT_EXEC: c_int = 4;
const EVENT_STOP: c_int = 128;

/// Stops at system calls are told from signals, and execve is reported.
pub(crate) const PLAIN: usize = 0x1 | 0x10;
/// Threads that it starts are traced too.
pub(crate) const CLONES: usize = 0x8;
/// The tracee dies with its tracer rather than run on with registers that are not its own.
pub(crate) const EXIT_KILL: usize = 1 << 20;

/// Between two looks at a tracee.
const PAUSE: Duration = Duration::from_micros(100);

/// What a tracee has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It was interrupted.
    Interrupted,
    /// It takes part in a stop of its whole process (SIGSTOP and its like).
    Group,
    /// At the entry or the end of a system call.
    Syscall,
    /// It is a new program.
    Exec,
    /// It has started a thread, which is traced too.
    Clone,
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
pub(crate) fn seize(tid: i32) -> io::Result<()> {
    ptrace(SEIZE, tid, 0, PLAIN)
}

/// Asks a thread to stop.
pub(crate) fn interrupt(tid: i32) -> io::Result<()> {
    ptrace(INTERRUPT, tid, 0, 0)
}

/// Lets a stopped thread run, with a signal (0 for none).
fn resume(tid: i32, signal: c_int) -> io::Result<()> {
    ptrace(CONTINUE, tid, 0, number(signal))
}

/// Lets a stopped thread go on to its next stop by an interrupt, with a signal (0 for none). The stop that it is in has
/// made the kernel forget an interrupt from before.
pub(crate) fn stop_later(tid: i32, signal: c_int) -> io::Result<()> {
    interrupt(tid)?;
    resume(tid, signal)
}

/// Lets a stopped thread run up to the next entry or end of a system call, with a signal (0 for none).
pub(crate) fn resume_to_syscall(tid: i32, signal: c_int) -> io::Result<()> {
    ptrace(TO_SYSCALL, tid, 0, number(signal))
}

/// Lets go of a stopped thread.
pub(crate) fn detach(tid: i32) -> io::Result<()> {
    ptrace(DETACH, tid, 0, 0)
}

pub(crate) fn set_options(tid: i32, options: usize) -> io::Result<()> {
    ptrace(SET_OPTIONS, tid, 0, options)
}

fn number(signal: c_int) -> usize {
    usize::try_from(signal).unwrap_or_default()
}

/// What has happened to a tracee since the last look; none when nothing has.
pub(crate) fn look(tid: i32) -> io::Result<Option<Stop>> {
    match wait_now(tid, 0) {
        Ok(found) => Ok(found.map(|(_, stop)| stop)),
        // It ended as one thread of many, or became another one's number.
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(Some(Stop::Ended)),
        Err(error) => Err(error),
    }
}

/// The same of any tracee of this thread.
pub(crate) fn look_at_any() -> io::Result<Option<(i32, Stop)>> {
    wait_now(-1, libc::__WNOTHREAD)
}

fn wait_now(tid: i32, flags: c_int) -> io::Result<Option<(i32, Stop)>> {
    let mut status = 0;
    // SAFETY: `status` is a live local that the call writes.
    let found = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG | flags) };
    match found {
        0 => Ok(None),
        tid if tid > 0 => Ok(Some((tid, stop_of(status)))),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            error => Err(error),
        },
    }
}

/// The thread that a thread has just started.
pub(crate) fn started(tid: i32) -> io::Result<i32> {
    let mut message: u64 = 0;
    ptrace(GET_EVENT, tid, 0, &raw mut message as usize)?;
    i32::try_from(message).map_err(io::Error::other)
}

/// Where a thread stands that has stopped at a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// At the entry of this call.
    Entry(Entry),
    /// At the end of one that goes on at this address.
    End(u64),
    /// At none.
    None,
}

/// A system call that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As [`crate::registers::MACHINE`].
    pub(crate) machine: u32,
    pub(crate) number: c_long,
    pub(crate) arguments: [u64; 6],
    /// Of the instruction after the call's.
    pub(crate) pointer: u64,
}

/// Reads `struct ptrace_syscall_info` (PTRACE_GET_SYSCALL_INFO, Linux 5.3): a byte that is 1 at an entry and 2 at an end, the
/// machine, the instruction and stack pointers; at an entry number and arguments.
pub(crate) fn syscall(tid: i32) -> io::Result<At> {
    let mut found = [0_u64; 11];
    ptrace(GET_CALL, tid, size_of_val(&found), &raw mut found as usize)?;
    let [first, pointer, _, number, arguments @ .., _] = found;
    let [kind, _, _, _, machine @ ..] = first.to_ne_bytes();
    let machine = u32::from_ne_bytes(machine);
    Ok(match kind {
        1 => At::Entry(Entry { machine, number: number.cast_signed(), arguments, pointer }),
        2 => At::End(pointer),
        _ => At::None,
    })
}

/// The seccomp filters of a stopped thread, the oldest first, as PTRACE_SECCOMP_GET_FILTER gives them. Needs
/// CAP_SYS_ADMIN in the first user namespace, a tracer without filters and a kernel with CONFIG_CHECKPOINT_RESTORE.
///
/// # Errors
/// EINVAL where the thread has no filters, EACCES where one of these rights is missing, ESRCH where it is not stopped.
pub(crate) fn filters(tid: i32) -> io::Result<Vec<Vec<Instruction>>> {
    let request = |index: usize, room: usize| {
        // SAFETY: `room` is null, or the address of a live buffer of as many instructions as the kernel has said to write.
        let length = unsafe { libc::syscall(libc::SYS_ptrace, GET_FILTER, c_long::from(tid), index, room) };
        usize::try_from(length).map_err(|_| io::Error::last_os_error())
    };
    let mut filters = Vec::new();
    loop {
        let length = match request(filters.len(), 0) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(filters),
            Err(error) => return Err(error),
        };
        let mut filter = vec![Instruction::default(); length];
        request(filters.len(), filter.as_mut_ptr() as usize)?;
        filters.push(filter);
    }
}

/// Has a thread that stands at the entry of a system call not make it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn cancel_call(tid: i32) -> io::Result<()> {
    let registers = registers(tid)?.ok_or(io::ErrorKind::InvalidData)?;
    set_registers(tid, &registers.moved(registers.position()))
}

/// The same on aarch64, where the number of the call is a register set of its own (NT_ARM_SYSTEM_CALL).
#[cfg(target_arch = "aarch64")]
pub(crate) fn cancel_call(tid: i32) -> io::Result<()> {
    let mut none: c_int = -1;
    let mut vector = vector(&mut none);
    ptrace(SET_REGSET, tid, 0x404, &raw mut vector as usize)
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
        (EVENT_CLONE, _) => Stop::Clone,
        (0, signal) if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        (_, signal) => Stop::Signal(signal),
    }
}

/// Looks until `found` has a value; none when the deadline is over.
pub(crate) fn until<T>(
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
pub(crate) fn wait(tid: i32, deadline: Instant) -> io::Result<Option<Stop>> {
    until(deadline, || look(tid))
}

/// A buffer and how much of it counts, as the kernel takes it.
fn vector<T>(value: &mut T) -> libc::iovec {
    libc::iovec { iov_base: ptr::from_mut(value).cast(), iov_len: size_of::<T>() }
}

/// The general registers of a stopped thread; none when it does not run this machine's native instructions.
pub(crate) fn registers(tid: i32) -> io::Result<Option<Registers>> {
    let mut registers = Registers::default();
    let mut vector = vector(&mut registers);
    ptrace(GET_REGSET, tid, NT_PRSTATUS, &raw mut vector as usize)?;
    Ok((vector.iov_len == size_of::<Registers>()).then_some(registers))
}

pub(crate) fn set_registers(tid: i32, registers: &Registers) -> io::Result<()> {
    let mut registers = *registers;
    let mut vector = vector(&mut registers);
    ptrace(SET_REGSET, tid, NT_PRSTATUS, &raw mut vector as usize)
}

/// Eight bytes of a stopped thread's memory, whatever the protection of their page.
pub(crate) fn peek(tid: i32, address: u64) -> io::Result<u64> {
    let mut word: u64 = 0;
    ptrace(PEEK_DATA, tid, at(address), &raw mut word as usize)?;
    Ok(word)
}

/// Replaces eight bytes of a stopped thread's memory, whatever the protection of their page.
pub(crate) fn poke(tid: i32, address: u64, word: u64) -> io::Result<()> {
    ptrace(POKE_DATA, tid, at(address), at(word))
}

/// Both machines that are supported have addresses of 64 bits.
#[allow(clippy::cast_possible_truncation)]
const fn at(address: u64) -> usize {
    address as usize
}

/// The blocked signals of a stopped thread, bit 0 for signal 1.
pub(crate) fn signal_mask(tid: i32) -> io::Result<u64> {
    let mut mask: u64 = 0;
    ptrace(GET_SIGMASK, tid, size_of::<u64>(), &raw mut mask as usize)?;
    Ok(mask)
}

pub(crate) fn set_signal_mask(tid: i32, mask: u64) -> io::Result<()> {
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
pub(crate) fn rseq_area(tid: i32) -> Option<u64> {
    let mut found = RseqConfiguration::default();
    ptrace(GET_RSEQ, tid, size_of::<RseqConfiguration>(), &raw mut found as usize).ok()?;
    (found.pointer != 0).then_some(found.pointer)
}

/// Sends SIGTERM to a process.
pub(crate) fn terminate(process: i32) -> io::Result<()> {
    let process = rustix::process::Pid::from_raw(process).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(process, rustix::process::Signal::TERM)?)
}

/// Sends a signal to one thread.
pub(crate) fn signal(process: i32, tid: i32, signal: c_int) -> io::Result<()> {
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
        assert_eq!((stopped(4, libc::SIGTRAP), stopped(3, libc::SIGTRAP)), (Stop::Exec, Stop::Clone));
        assert_eq!(stopped(0, libc::SIGTRAP | 0x80), Stop::Syscall);
        assert_eq!(stopped(0, libc::SIGTRAP), Stop::Signal(libc::SIGTRAP));
        assert_eq!(stopped(0, libc::SIGTERM), Stop::Signal(libc::SIGTERM));
        assert_eq!((stop_of(9), stop_of(0x100)), (Stop::Ended, Stop::Ended));
    }
}
