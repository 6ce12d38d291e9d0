//! Where the local syncthing's process stands, and where its parts are.
//!
//! Invariant: a [`Running::number`] is never used twice, so whoever has seen one knows when its successor came.

use std::{path::PathBuf, sync::Arc};

/// A syncthing that answers.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// The process's number: counted from 1, different for each.
    pub number: u64,
    /// Its REST API.
    pub client: syncthing::Client,
}

/// Where the local syncthing stands.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// It does not run: not yet, or why not, as a sentence.
    Down(Option<String>),
    /// It runs and answers.
    Up(Arc<Running>),
}

/// Where the parts of a local syncthing are.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The program.
    pub binary: PathBuf,
    /// Its home.
    pub home: PathBuf,
    /// Its REST socket.
    pub socket: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// Where replaced and removed files are kept.
    pub kept: PathBuf,
}
