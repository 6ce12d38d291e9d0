//! Why a program was not replaced.

use std::io;

use crate::action::Action;

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
    /// A seccomp filter of the process is in the way of a call that a replacement needs; nothing was touched.
    #[error("the process's seccomp filters forbid the system call `{name}`: {action}")]
    Forbidden {
        /// Of the call, as its man page has it.
        name: &'static str,
        /// What would become of it.
        action: Action,
    },
    /// A seccomp filter would end the process when its exit is held up; nothing was touched.
    #[error(
        "the process's seccomp filters do not let it go on after its own way to end is held up: {action}"
    )]
    Held {
        /// What would become of it.
        action: Action,
    },
    /// The kernel does not tell them: a right is missing (ptrace(2), PTRACE_SECCOMP_GET_FILTER), or CONFIG_CHECKPOINT_RESTORE.
    #[error("can't read the seccomp filters of the process")]
    NoFilters(#[source] io::Error),
    /// Whether there is one can't be told.
    #[error(
        "the process waits for a child to begin its program (vfork), and its seccomp filters can't be read meanwhile"
    )]
    Unreadable,
    /// Something that was not asked for happened instead of a call.
    #[error("another process, which shares its memory, changes the process while its program is replaced")]
    Changed,
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
