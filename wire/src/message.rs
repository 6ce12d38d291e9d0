//! What goes over the stream, as data. Each message is of a channel, which is an attachment that was opened.

use std::{collections::BTreeMap, sync::Arc};

use ksync_endpoint::{HeldFile, News};
use ksync_merge::{Digest, Outcome, State};

/// How many bytes of messages go together: what is ready goes at once, and what comes meanwhile goes together after it.
pub const TOGETHER: usize = 256 << 10;
/// What the shortest request counts for.
pub(crate) const SHORTEST: usize = 16;

/// From the watcher to radar.
#[derive(Debug, Clone)]
pub enum Request {
    /// The first of a channel.
    Open(Open),
    /// The last.
    Close,
    /// Is to be done; [`Reply::Applied`] comes back.
    Job {
        /// Never used twice in a channel.
        number: u64,
        /// At which path.
        path: Arc<str>,
        /// What stands there: nothing else is replaced.
        old: State,
        /// What is to stand there.
        new: State,
        /// Its content.
        content: Content,
        /// Whether what stands there is held until it is released.
        keep: bool,
    },
    /// [`Reply::Marked`] comes back, after the news of all that had happened in the directory by then.
    Mark(u64),
    /// A held file is in safety.
    Release(u64),
    /// The displaced file of this number could not be brought to safety: it is told of again, if it is anywhere.
    JudgeAgain(u64),
    /// All that is there is to be told once more, then [`Reply::Listed`].
    List,
}

/// An attachment is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Which.
    pub attachment: String,
    /// All patterns.
    pub ignore: Vec<String>,
    /// A changed file of at most so many bytes is told with its content.
    pub inline: u64,
}

/// Content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// None is needed.
    None,
    /// All of it, and its hash where it came over the stream.
    Whole(Arc<[u8]>, Option<[u8; 32]>),
    /// It was staged under the number of the job.
    Staged,
}

/// From radar to the watcher.
#[derive(Debug)]
pub enum Reply {
    /// What was found, in order.
    News(Vec<News>),
    /// The audit has found so many changes that no event had told of; they follow.
    Missed(u64),
    /// All that is there has been told.
    Listed,
    /// What came of a job.
    Applied {
        /// Its number.
        number: u64,
        /// As the merge wants to know it.
        outcome: Outcome,
        /// Why it failed.
        error: Option<String>,
        /// A directory counts as gone, and stays for what it holds beside what is synced.
        shell: bool,
        /// Number of the displaced file.
        held: Option<u64>,
    },
    /// A displaced file is to be brought to safety.
    Held(HeldFile),
    /// All that was asked for, and had happened, before the mark has been told.
    Marked {
        /// Its number.
        number: u64,
        /// Of all that is there.
        digest: Digest,
        /// Rounds of the audit that are over.
        rounds: u64,
    },
    /// What can't be looked at, with the reasons.
    Skipped(BTreeMap<String, String>),
    /// The last of a channel.
    Ended(Ended),
}

/// Why a channel has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which end it was.
    pub end: End,
    /// A sentence for a person.
    pub reason: String,
}

/// Which end it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The attachment stands: it can be opened again.
    Closed,
    /// The container has ended.
    ContainerExited,
    /// The directory is no longer the one that was attached.
    RootChanged,
    /// The attachment was let go of.
    Detached,
    /// There is more in the directory than radar has memory for.
    TooMuch,
}

impl Request {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Job { path, content: Content::Whole(content, _), .. } => 200 + path.len() + content.len(),
            Self::Job { path, .. } => 200 + path.len(),
            Self::Open(open) => SHORTEST + open.ignore.iter().map(String::len).sum::<usize>(),
            Self::Close | Self::Mark(_) | Self::Release(_) | Self::JudgeAgain(_) | Self::List => SHORTEST,
        }
    }
}

impl Reply {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::News(news) => news.iter().map(size_of).sum(),
            Self::Skipped(skipped) => skipped.iter().map(|(path, reason)| path.len() + reason.len()).sum(),
            _ => 150,
        }
    }
}

/// About how many bytes it takes to tell of a path.
pub fn size_of(news: &News) -> usize {
    let target = news.state.as_ref().and_then(|entry| entry.target.as_ref()).map_or(0, Vec::len);
    100 + news.path.len() + target + news.content.as_ref().map_or(0, |content| content.len())
}
