//! The local syncthing: one process per watcher, its parent a thread that lives as long as the watcher.
//!
//! Invariant: syncthing cannot outlive the watcher, and every start begins without folders; whoever has a
//! folder puts it again when [`Running::number`] changes.

mod parent;
mod state;

use std::{path::Path, path::PathBuf, sync::Arc};

use tokio::sync::watch;

pub(crate) use parent::{Error, STEP};
pub(crate) use state::{Paths, Running, State};

/// The local syncthing's handle. It ends with [`LocalSyncthing::stop`], or with the watcher's process.
#[derive(Debug)]
pub(crate) struct LocalSyncthing {
    state: watch::Receiver<State>,
    stop: parent::Stop,
    kept: PathBuf,
}

impl LocalSyncthing {
    /// Starts the thread that keeps a syncthing running.
    pub(crate) fn start(paths: Paths) -> Result<Arc<Self>, Error> {
        let kept = paths.kept.clone();
        let (state, stop) = parent::keep(paths)?;
        Ok(Arc::new(Self { state, stop, kept }))
    }

    /// One that never runs.
    #[cfg(test)]
    pub(crate) fn none(kept: PathBuf) -> Arc<Self> {
        Self::fake(watch::channel(State::Down(None)).1, kept)
    }

    /// One that somebody else runs.
    #[cfg(test)]
    pub(crate) fn fake(state: watch::Receiver<State>, kept: PathBuf) -> Arc<Self> {
        Arc::new(Self { state, stop: parent::Stop::none(), kept })
    }

    /// Follows the process.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Where replaced and removed files are kept.
    pub(crate) fn kept(&self) -> &Path {
        &self.kept
    }

    /// Waits for the first process to answer.
    pub(crate) async fn ready(&self) -> Option<Arc<Running>> {
        let mut state = self.state();
        let up = state.wait_for(|state| matches!(state, State::Up(_))).await.ok()?;
        match &*up {
            State::Up(running) => Some(Arc::clone(running)),
            State::Down(_) => None,
        }
    }

    /// Ends the process and waits for its end.
    pub(crate) async fn stop(&self) {
        self.stop.stop().await;
    }
}
