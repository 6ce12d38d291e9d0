//! The thread on which a replacement happens.
//!
//! Invariant: all of a replacement happens on one thread, made for it: the kernel ties a tracee to the thread that
//! traces it, and lets go of what is still held when that thread ends.

use std::{io, time::Duration};

use crate::{error::Error, program::Program, steps};

/// Replaces the program of `process` (a number in this process's PID namespace) and ends its descendants; returns how
/// many those were.
///
/// The old program gets SIGTERM first and `grace` to end in its own way, which is held up at the last moment; with no
/// grace at all it is not asked. The caller must be allowed to trace the process (ptrace(2), "Ptrace access mode
/// checking").
///
/// # Errors
/// Each is a sentence about the process. After an error it runs on as before, unless the error is [`Error::Ended`] or
/// [`Error::Lost`], or came from the kernel while it was executing the new program.
pub async fn replace(process: i32, program: Program, grace: Duration) -> Result<usize, Error> {
    let (result_tx, result_rx) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("ksync-trace".to_owned())
        .spawn(move || {
            let result = steps::replace(process, &program, grace);
            // The asker may have been cancelled.
            drop(result_tx.send(result));
        })
        .map_err(Error::Thread)?;
    result_rx.await.map_err(|_| Error::Thread(io::Error::other("the thread panicked")))?
}
