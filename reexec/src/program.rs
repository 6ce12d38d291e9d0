//! What a process shall execute.

use std::ffi::CString;

/// A program with all that execve(2) gives it. Paths are as the process sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file; it is not looked for in `PATH`.
    pub path: CString,
    /// Arguments, the program's name first.
    pub arguments: Vec<CString>,
    /// `NAME=value` each.
    pub environment: Vec<CString>,
    /// Working directory; none to keep the process's.
    pub directory: Option<CString>,
    /// File mode creation mask (umask(2)); none to keep the process's.
    pub umask: Option<u32>,
}
