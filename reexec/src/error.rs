//! Why a program was not replaced.

use std::io;

/// Why the program was not replaced. Each reads as a sentence about the process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
