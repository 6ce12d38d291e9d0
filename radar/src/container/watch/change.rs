//! Types of a watch: the kernel's event, the change that follows from an event, and the filter of paths without interest.

use rustix::fs::inotify::ReadFlags;

/// A change below a watched directory, as an endpoint hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// At this path or below it.
    Path(String),
    /// This directory was made, or its attributes changed; what is in it is told apart.
    Directory(String),
    /// Anywhere.
    All,
    /// Nothing is heard any more; why.
    Broken(String),
    /// More directories than the kernel's limit lets watch: everything is reported as changed now and then.
    Limited,
    /// The changes that cover all that had happened when this was asked for have been told.
    Drained,
}

/// Tells of a path that neither it nor anything below it is of interest.
pub(crate) type Idle = Box<dyn Fn(&str) -> bool + Send>;

/// One event of the kernel, owned.
#[derive(Debug)]
pub(super) struct InotifyEvent {
    pub(super) watch: i32,
    pub(super) what: ReadFlags,
    pub(super) name: Option<String>,
}
