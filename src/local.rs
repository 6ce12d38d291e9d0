//! The local syncthing: one process per watcher, its parent a thread that lives as long as the watcher.
//!
//! Invariant: syncthing cannot outlive the watcher, and every start begins without folders; whoever has a
//! folder puts it again when [`Running::number`] changes.

mod brake;
mod conflict;
mod deletion;
mod election;
mod folder;
mod gather;
mod gitexclude;
mod ground;
mod hold;
mod lately;
mod listings;
mod notice;
mod origin;
mod owner;
mod patterns;
mod process;
mod pull;
mod stignore;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

pub use election::{Election, Presence, Seat};
pub use folder::{
    Answered, Closed, Error as FolderError, ExcludeError, Local, LocalFolder, LocalFolders, Share, Trip,
};
pub use hold::{Hold, HoldFile, Holds, Who};
pub use lately::{Known, Lately};
pub use listings::Listings;
pub use origin::{Edit, Edits, Theirs};
pub use process::{Error, STEP};
pub use pull::{Asked, Pull};
pub use stignore::{Error as PatternsError, foreign as foreign_patterns, remove as sweep};

/// A syncthing that answers.
#[derive(Debug, Clone)]
pub struct Running {
    /// Different for each process.
    pub number: u64,
    /// Its REST API.
    pub client: syncthing::Client,
    /// Its device id; the same for every process of one home.
    pub device_id: String,
}

/// Where the local syncthing stands.
#[derive(Debug, Clone)]
pub enum State {
    /// It does not run (yet); why, when it failed.
    Down(String),
    /// It runs and answers.
    Up(Arc<Running>),
}

/// Where the parts of a local syncthing are.
#[derive(Debug, Clone)]
pub struct Paths {
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

/// The local syncthing's handle. It ends with [`LocalSyncthing::stop`], or with the watcher's process.
#[derive(Debug)]
pub struct LocalSyncthing {
    state: watch::Receiver<State>,
    stop: process::Stop,
    kept: PathBuf,
}

impl LocalSyncthing {
    /// Starts the thread that keeps a syncthing running.
    pub fn start(paths: Paths) -> Result<Arc<Self>, Error> {
        let kept = paths.kept.clone();
        let (state, stop) = process::keep(paths)?;
        Ok(Arc::new(Self { state, stop, kept }))
    }

    /// Follows the process.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Where replaced and removed files are kept.
    pub fn kept(&self) -> &Path {
        &self.kept
    }

    /// Waits for the first process to answer.
    pub async fn ready(&self) -> Option<Arc<Running>> {
        let mut state = self.state();
        let up = state.wait_for(|state| matches!(state, State::Up(_))).await.ok()?;
        match &*up {
            State::Up(running) => Some(Arc::clone(running)),
            State::Down(_) => None,
        }
    }

    /// Ends the process and waits for its end.
    pub async fn stop(&self) {
        self.stop.stop().await;
    }
}
