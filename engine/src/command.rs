//! What an engine is made of, and what it is told.

use std::{path::PathBuf, sync::Arc};

use ksync_endpoint::Options;
use ksync_merge::First;
use ksync_tree::Root;
use tokio::sync::mpsc;

use crate::{
    far::{Far, FromFar},
    keep::Keeper,
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
    /// Which side wins a first sync.
    pub first: First,
    /// Whether the local path leads to `root`; a sentence where it does not.
    pub check: Check,
    /// Hears of each file and symlink that somebody has changed here.
    pub edits: Edits,
}

/// Hears of paths that somebody has changed here.
#[derive(Clone)]
pub struct Edits(Arc<dyn Fn(&str) + Send + Sync>);

impl Edits {
    /// By this function.
    pub fn new(hear: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    pub(crate) fn tell(&self, path: &str) {
        (self.0)(path);
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

/// What an engine is told.
#[derive(Debug)]
pub enum Command {
    /// A container is attached; what it tells comes through `from`, whose end is the attachment's.
    Attach {
        /// Its name, which tells it from its successors.
        name: Arc<str>,
        /// The way there.
        far: Arc<dyn Far>,
        /// The way back.
        from: mpsc::Receiver<FromFar>,
        /// Whether what it writes comes here.
        two_way: bool,
    },
    /// A container is not attached any more, and is remembered.
    Detach(Arc<str>),
    /// A container is no more.
    Forget(Arc<str>),
    /// Whether what a container writes comes here, from now on.
    TwoWay(Arc<str>, bool),
    /// All containers of the local directory are in sync for the first time: what fresh ones hold from here on is no more than
    /// their image's.
    Synced,
    /// A person's answer to what a container's removals, or removals here, wait for.
    Answer {
        /// The container.
        name: Arc<str>,
        /// Whether they are to be done; else what was removed comes back.
        agree: bool,
    },
}
