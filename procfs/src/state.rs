//! What a process or thread is doing, by the letter in `stat` and `status` (proc_pid_stat(5)).

/// The scheduler's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// `R`
    Running,
    /// `S`: interruptible.
    Sleeping,
    /// `D`: in the kernel, uninterruptible, as the parent of a vfork(2).
    DiskSleep,
    /// `T`: by a signal such as SIGSTOP.
    Stopped,
    /// `t`: by a tracer.
    Traced,
    /// `Z`: ended, and not yet waited for.
    Zombie,
    /// `X`: ended.
    Dead,
    /// Any other letter, or none.
    #[default]
    Other,
}

impl State {
    /// Whether no instruction of the program will run any more.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Zombie | Self::Dead)
    }

    /// Reads the first letter of `S (sleeping)` or `S`.
    pub(crate) fn parse(text: &str) -> Self {
        match text.chars().next() {
            Some('R') => Self::Running,
            Some('S') => Self::Sleeping,
            Some('D') => Self::DiskSleep,
            Some('T') => Self::Stopped,
            Some('t') => Self::Traced,
            Some('Z') => Self::Zombie,
            Some('X') => Self::Dead,
            _ => Self::Other,
        }
    }
}
