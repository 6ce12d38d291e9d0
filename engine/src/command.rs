//! What an engine is made of, and what it is told.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use ksync_endpoint::Options;
use ksync_merge::{First, Terms};
use ksync_tree::Root;
use tokio::sync::{mpsc, oneshot};

use crate::{
    far::{Far, FromFar},
    keep::Keeper,
    state::Questions,
};

/// What an engine is made of.
#[derive(Debug)]
pub struct Config {
    /// The local directory.
    pub root: Root,
    /// What of it is synced.
    pub options: Options,
    /// Where what is known is written down.
    pub journal: PathBuf,
    /// Where what is replaced or removed goes.
    pub keeper: Arc<dyn Keeper>,
    /// Whether the local path leads to `root`; a sentence where it does not.
    pub check: Check,
    /// Hears of each file and symlink that somebody has changed here, with the number of the edit.
    pub edits: Edits,
    /// Whoever hints, where somebody does: has all hinted that has changed here by now, and calls
    /// [`Engine::mark`](crate::Engine::mark) with the number after that. engine --marks--> who hints
    pub marks_tx: Option<mpsc::UnboundedSender<u64>>,
}

type Hear = dyn Fn(&str, u64) + Send + Sync;

/// Hears of paths that were changed, each with a number.
#[derive(Clone)]
pub struct Edits(Arc<Hear>);

impl Edits {
    /// By this function.
    pub fn new(hear: impl Fn(&str, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    pub(crate) fn tell(&self, path: &str, number: u64) {
        (self.0)(path, number);
    }
}

impl std::fmt::Debug for Edits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Edits")
    }
}

/// Whether the local path leads to the directory that it was; a sentence where it does not.
#[derive(Clone)]
pub struct Check(Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl Check {
    /// By this function.
    pub fn new(check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        (self.0)()
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Check")
    }
}

/// The name of a container of a kind: `id` has no blanks.
pub fn name(id: &str, kind: &str) -> Arc<str> {
    Arc::from(format!("{id} {kind}"))
}

/// The id of the container with this [`name`].
pub fn id_of(name: &str) -> &str {
    name.split(' ').next().unwrap_or_default()
}

/// A container that is attached.
#[derive(Debug)]
pub struct Attach {
    /// Its name, which tells it from its successors ([`name`]).
    pub name: Arc<str>,
    /// Tells the attachment from others of the same name.
    pub number: u64,
    /// What it is one of: once all of a kind were in sync, what fresh ones hold is no more than their image's.
    pub kind: Arc<str>,
    /// The way there.
    pub far: Arc<dyn Far>,
    /// The way back; its end is the attachment's.
    pub from: mpsc::Receiver<FromFar>,
    /// Whether what it writes comes here.
    pub two_way: bool,
    /// Which side wins a first sync.
    pub first: First,
    /// What of it comes here unasked.
    pub terms: Terms,
    /// Paths that are not synced with it, with all that is below.
    pub excluded: Vec<String>,
    /// Hears of each file and symlink whose content it is given before it is in sync for the first time.
    pub brought: Edits,
}

/// What an engine is told.
#[derive(Debug)]
pub enum Command {
    /// A container is attached.
    Attach(Box<Attach>),
    /// The attachment of this name and number is over; the container is remembered.
    Detach(Arc<str>, u64),
    /// These containers of a kind run: others whose kind is of the same family are no more.
    Running {
        /// The kind's name.
        kind: Arc<str>,
        /// What the names of all kinds of its family begin with.
        family: String,
        /// Names of those that run ([`name`]).
        names: BTreeSet<Arc<str>>,
        /// Names of those that run still, and whose pods are on their way out.
        leaving: BTreeSet<Arc<str>>,
    },
    /// A container's pod is on its way out: what it writes comes here still, what it removes does not.
    Leaves(Arc<str>),
    /// Whether what a container writes comes here, from now on.
    TwoWay(Arc<str>, bool),
    /// A person's answer to all questions that there are.
    Answer {
        /// Whether what was asked about is to be done; else it is undone.
        agree: bool,
        /// What was asked. engine --reply--> whoever answers
        reply: oneshot::Sender<Vec<Questions>>,
    },
    /// The local directory was made anew: this is it now.
    Root(Root),
    /// Both sides are compared as of now or later, which [`MemberState::as_of`](crate::MemberState::as_of) tells.
    Compare,
}
