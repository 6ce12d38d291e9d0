//! Replacing the program of a running process from outside, by ptrace(2): the process executes another program (or
//! its own anew) and keeps its number, its namespaces and its standard streams.
//!
//! Invariant: either the process executes the new program, or it runs on as it was; only children that were ended stay
//! ended. What is begun is finished or undone, even if the caller goes away.
//!
//! From the bottom up: `filter` and `action` (what a seccomp filter answers), `registers` (what differs between machines),
//! `ptrace` (each call of the kernel once), `page` (what is written into the process), `calls` (what it may be told to do),
//! `permission` (whether its filters let it), `remote_syscall` (a thread that makes calls for us), `threads` and
//! `descendants` (who is held, who is ended), `steps` (the order of it all, and how each step is undone), `replace` (the
//! thread on which all of it happens).
//!
//! Kernel interfaces: ptrace(2), seccomp(2), wait(2), execve(2), rseq(2), close_range(2), pidfd_open(2), proc(5);
//! `include/uapi/linux/ptrace.h` and `arch/*/include/uapi/asm/ptrace.h` of Linux.

mod action;
mod calls;
mod descendants;
mod error;
mod filter;
mod page;
mod permission;
mod program;
mod ptrace;
mod registers;
mod remote_syscall;
mod replace;
mod steps;
#[cfg(test)]
mod tests;
mod threads;

pub use action::Action;
pub use error::Error;
pub use program::Program;
pub use replace::replace;
