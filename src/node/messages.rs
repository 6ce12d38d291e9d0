//! What is asked of radar, what radar answers, and what radar tells by itself: this side's own types. The wire has others,
//! which `wire` converts.

use std::time::Duration;

use crate::{config::ReloadMode, targets::RemoteContainer};

/// Which directory is to be attached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttachRequest<'a> {
    /// Id of the local folder: one for each local path and session.
    pub folder: &'a str,
    /// The container.
    pub container: &'a RemoteContainer,
    /// Absolute, inside the container.
    pub path: &'a str,
    /// Whether another session's hold on an overlapping path is to end.
    pub take_over: bool,
}

/// The directory that was attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttachReply {
    /// The path with symlinks resolved inside the container.
    pub path: String,
    /// Whether the path did not exist before.
    pub created: bool,
    /// Whether it is written whatever its permissions.
    pub overrides: bool,
    /// Mounts below it that are not synced.
    pub excluded: Vec<ExcludedMount>,
}

/// A mount below an attached directory that is not synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExcludedMount {
    /// Relative to the attached directory.
    pub path: String,
    /// A few words for a person.
    pub reason: String,
}

/// How an app is to be reloaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReloadRequest<'a> {
    /// The way.
    pub mode: &'a ReloadMode,
    /// The pod's, as its spec has it.
    pub restart_policy: &'a str,
    /// From SIGTERM to SIGKILL, where the container is stopped.
    pub stop_grace: Duration,
    /// How long the app may take to end in its own way after a SIGTERM that it handles; 0 is not to ask it.
    pub grace: Duration,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReloadReply {
    /// The app runs the new code.
    Reloaded(Reloaded),
    /// It needs nobody; why, in a sentence.
    LeftAlone(String),
}

/// A reload that was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// From the call to the new program.
    pub took: Duration,
    /// The command line, or what was done instead.
    pub executed: String,
    /// What the process has dropped since its start, so that the running program was executed again; empty when nothing.
    pub dropped: String,
}

/// Whether a path could be attached, without attaching it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LookReply {
    /// It could.
    Attachable,
    /// It could not; why, in a sentence.
    Refused(String),
}
