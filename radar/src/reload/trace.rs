//! Replacing the program of a running process from outside, by ptrace(2): the process executes another program (or
//! its own anew) and stays the process that it was, with its number, its namespaces and its standard streams.
//!
//! Invariant: it succeeds, or the process runs on as it was (only children that were ended stay ended). All of it
//! happens on a thread of its own, because the kernel ties a tracee to the thread that traces it.

use std::{ffi::CString, io, time::Duration};

mod kernel;
mod puppet;
mod registers;
mod replace;
#[cfg(test)]
mod tests;
mod threads;

/// Why the program was not replaced. Each reads as a sentence about the process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is gone.
    #[error("the process ended meanwhile")]
    Ended,
    /// Somebody stopped it.
    #[error("the process is being stopped by a signal")]
    Stopped,
    /// Somebody else traces it, or a security module protects it.
    #[error(
        "the kernel does not let the process be traced: a debugger is attached, or a security policy forbids it"
    )]
    Refused,
    /// A 32-bit program on a 64-bit node, or the like.
    #[error("the process does not run the node's native instructions")]
    OtherMachine,
    /// No place for an instruction.
    #[error("the text of the process can't be written")]
    NoText,
    /// A limit was reached.
    #[error("it took too long to {0} the process")]
    Slow(&'static str),
    /// A system call in the process did not come back, and the process is no longer what it was.
    #[error("the process was lost in `{0}`")]
    Lost(&'static str),
    /// A system call in the process failed.
    #[error("`{name}` failed in the process")]
    Call {
        /// Its name.
        name: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// ptrace or /proc failed.
    #[error("can't {operation} the process")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// The thread could not be started, or panicked.
    #[error("run a thread that traces the process")]
    Thread(#[source] io::Error),
}

/// What a process shall execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// Path, as the process sees it.
    pub(crate) program: CString,
    /// Arguments, its name first.
    pub(crate) arguments: Vec<CString>,
    /// `NAME=value` each.
    pub(crate) environment: Vec<CString>,
    /// Working directory; none to stay.
    pub(crate) dir: Option<CString>,
    /// File mode creation mask; none to keep it.
    pub(crate) umask: Option<u32>,
    /// How long the old program may take to end by itself after SIGTERM; 0 not to ask it.
    pub(crate) grace: Duration,
}

/// Replaces the program of `process` and ends its descendants; returns how many those were.
///
/// What is begun is finished or undone, even if the caller goes away.
pub(crate) async fn replace(process: i32, start: Start) -> Result<usize, Error> {
    let (result_tx, result_rx) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("ksync-trace".to_owned())
        .spawn(move || {
            let result = replace::replace(process, &start);
            // The asker may have been cancelled.
            drop(result_tx.send(result));
        })
        .map_err(Error::Thread)?;
    result_rx.await.map_err(|_| Error::Thread(io::Error::other("the thread panicked")))?
}
