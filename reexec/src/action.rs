//! What the kernel does with a system call that a seccomp filter was asked about.

/// What the kernel does with a call (seccomp(2)), the strictest first: of several answers it takes the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It ends the process.
    KillProcess,
    /// It ends the thread.
    KillThread,
    /// It raises SIGSYS.
    Trap,
    /// It answers with an error.
    Fail,
    /// It asks a supervisor.
    Ask,
    /// It tells a tracer, which is not us.
    Trace,
    /// It makes the call; a line in a log may tell.
    Allow,
}

impl Action {
    /// Of what a filter returns. What is not known to the kernel ends the process.
    pub(crate) fn of(answer: u32) -> Self {
        match answer & 0xffff_0000 {
            0x0000_0000 => Self::KillThread,
            0x0003_0000 => Self::Trap,
            0x0005_0000 => Self::Fail,
            0x7fc0_0000 => Self::Ask,
            0x7ff0_0000 => Self::Trace,
            0x7ffc_0000 | 0x7fff_0000 => Self::Allow,
            _ => Self::KillProcess,
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KillProcess | Self::KillThread => "it would be killed",
            Self::Trap => "it would get SIGSYS",
            Self::Fail => "the call would fail",
            Self::Ask => "a supervisor would be asked",
            Self::Trace => "a tracer would be asked",
            Self::Allow => "nothing would happen",
        })
    }
}
