//! `ksync-prove SOCKET`: what radar plants in a container and has run there by `pods/exec` (docs/decisions/0014).
//!
//! It has no secret and decides nothing: what it is started with is what counts. It closes all that it was not given, waits
//! until radar, on the socket, has looked at it and spoken, and answers with radar's nonce and the challenge of its stdin. It
//! ends with 0 when radar has taken that for a proof, with 1 otherwise, and in any case within half a minute.
#![allow(unsafe_code)]

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    process::ExitCode,
};

/// Length of the nonce and of the challenge.
const LENGTH: usize = 32;
/// It may be started by anybody, and what waits for ever would stay in somebody's container.
const SECONDS: u32 = 30;

fn main() -> ExitCode {
    close_what_was_not_given();
    keep_to_itself();
    // SAFETY: no memory is involved; SIGALRM's default is to end the process.
    unsafe { libc::alarm(SECONDS) };
    let mut arguments = std::env::args_os().skip(1);
    let Some(socket) = arguments.next() else { return ExitCode::FAILURE };
    let proved = UnixStream::connect(socket).and_then(carry);
    if proved.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whoever started it may have left it ways to speak and to be spoken to.
fn close_what_was_not_given() {
    // SAFETY: nothing in this process has opened a descriptor yet. By number: close_range(2), Linux 5.9; radar needs 5.14.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

/// From here on nobody traces it or takes what it has open without CAP_SYS_PTRACE, though he might read its file as the
/// container's root. prctl(2), PR_SET_DUMPABLE.
fn keep_to_itself() {
    // SAFETY: only numbers go in.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// An error where radar has closed the socket: it has seen what is no proof.
fn carry(mut radar: UnixStream) -> io::Result<()> {
    let (mut answer, mut verdict) = ([0; 2 * LENGTH], [0]);
    let (nonce, challenge) = answer.split_at_mut(LENGTH);
    radar.read_exact(nonce)?;
    read_stdin(challenge)?;
    radar.write_all(&answer)?;
    radar.read_exact(&mut verdict)
}

/// Unbuffered: what is not read is nobody's.
fn read_stdin(mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
