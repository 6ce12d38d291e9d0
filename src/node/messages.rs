//! What is asked of radar, what radar answers, and what radar tells by itself: this side's own types. The wire has others,
//! which `wire` converts.

use std::time::Duration;

use ksync_tree::Kind;

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
    /// Mounts below it that are not synced.
    pub excluded: Vec<ExcludedMount>,
    /// Set where the attachment stood already and had joined its folder: the connection was away meanwhile.
    pub role: Option<Role>,
}

/// A mount below an attached directory that is not synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExcludedMount {
    /// Relative to the attached directory.
    pub path: String,
    /// A few words for a person.
    pub reason: String,
}

/// How a directory that has joined its folder gets what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is bound into the node's syncthing.
    Lead,
    /// radar copies to it what the lead has got.
    Follower,
    /// It is the lead's directory, under another path (a shared volume).
    Alias,
}

impl Role {
    /// As `get` shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Follower => "follower",
            Self::Alias => "alias",
        }
    }
}

/// What radar tells of one attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AttachmentEvent {
    /// The container made or changed an entry below the two-way directory.
    Changed {
        /// Relative to the attached directory.
        path: String,
        /// What it is now; none where radar names something unknown.
        kind: Option<Kind>,
    },
    /// The container deleted an entry below the two-way directory, and radar vouches for that.
    Deleted {
        /// Relative to the attached directory.
        path: String,
    },
    /// A change from here could not be written in the container.
    NotWritten {
        /// Relative to the attached directory.
        path: String,
        /// What was to be done, in syncthing's words.
        action: String,
        /// Why, in a sentence.
        error: String,
    },
    /// The node's syncthing did not keep up: not everything that happened in the container was told.
    Missed,
    /// The attachment ended.
    Ended {
        /// Which end it was, for the log.
        why: &'static str,
        /// A sentence for a person.
        reason: String,
    },
}

/// Whether a node holds everything up to a sequence of our index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SettleReply {
    /// It does.
    Settled(StagesAgo),
    /// Not yet: these changes can't be written, one sentence each. None where the failures that were known are over.
    Failing(Vec<String>),
    /// Nothing was said within the time of one question.
    TimedOut,
    /// The question was called off before it was answered, which says nothing of the connection.
    Cancelled,
}

/// How long before its answer a node last got through each stage of the way; none where it never did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StagesAgo {
    /// It received our index.
    pub index: Option<Duration>,
    /// Its syncthing finished an item.
    pub finished: Option<Duration>,
    /// All followers had what was finished.
    pub copied: Option<Duration>,
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
    /// This radar can't tell.
    Unknown,
    /// It could not; why, in a sentence.
    Refused(String),
}
