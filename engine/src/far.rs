//! The far side: a container's endpoint, wherever it is, as the engine speaks to it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures::future::BoxFuture;
use ksync_endpoint::{HeldFile, News};
use ksync_merge::{Digest, Outcome, State};
use ksync_tree::Entry;
use tokio::sync::mpsc;

/// A message to a container's endpoint. Messages are taken in the order in which they are sent.
#[derive(Debug, Clone)]
pub enum ToFar {
    /// Is to be done; [`FromFar::Applied`] comes back with the number.
    Job {
        /// Never used twice in one attachment.
        number: u64,
        /// At which path.
        path: Arc<str>,
        /// What stands there: nothing else is replaced.
        old: State,
        /// What is to stand there.
        new: State,
        /// Its content.
        content: FarContent,
        /// Whether what stands there is held until it is released.
        keep: bool,
    },
    /// [`FromFar::Marked`] comes back with the number, after all that was told before this, and the news of all that had
    /// happened there by then.
    Mark(u64),
    /// The displaced file of this number is in safety.
    Release(u64),
    /// The displaced file of this number could not be brought to safety: it is told of again, if it is anywhere.
    JudgeAgain(u64),
    /// All that is there is to be told once more, and [`FromFar::Listed`] after that.
    List,
}

/// Content of a file that a job makes.
#[derive(Debug, Clone)]
pub enum FarContent {
    /// None: there is no file, or it has its content already.
    None,
    /// All of it.
    Whole(Arc<[u8]>),
    /// It was staged under the number of the job ([`Far::stage`]).
    Staged,
}

/// A message from a container's endpoint.
#[derive(Debug)]
pub enum FromFar {
    /// What was found, in order.
    News(Vec<News>),
    /// So many changes that the audit has found were told of by no event, then or soon after.
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
        /// Number of the displaced file, which [`FromFar::Held`] tells of later.
        held: Option<u64>,
    },
    /// A displaced file is to be brought to safety.
    Held(HeldFile),
    /// Everything before the mark was told.
    Marked {
        /// Its number.
        number: u64,
        /// Of all that is there.
        digest: Digest,
        /// Rounds of the audit that are over.
        rounds: u64,
    },
    /// What can't be looked at there, with the reasons.
    Skipped(BTreeMap<String, String>),
}

/// Pieces of a file's content; an error's sentence where it breaks off.
pub type Pieces = mpsc::Receiver<Result<Vec<u8>, String>>;

/// A way to a container's endpoint. What comes back from there is told to the engine by whoever has made this.
pub trait Far: fmt::Debug + Send + Sync + 'static {
    /// Sends a message. A broken way says so by ending the attachment.
    fn send(&self, message: ToFar);

    /// Has `pieces`, the content of `entry`, written beside the place of `path`, for the job `number`. An error's sentence
    /// where that fails. They need not be taken where the content is at hand.
    fn stage(
        &self,
        number: u64,
        path: &str,
        entry: &Entry,
        pieces: Pieces,
    ) -> BoxFuture<'static, Result<(), String>>;

    /// The content of the file at `path`, while it is `entry`.
    fn read(&self, path: &str, entry: &Entry) -> BoxFuture<'static, Result<Pieces, String>>;
}
