//! What a local folder shows of itself.
//!
//! Invariant: the folder's task alone changes it, and everybody else reads.

use tokio::sync::watch;

/// The state of the local side of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LocalState {
    /// It was listed once; nothing is attached before.
    pub listed: bool,
    /// Why nothing is synced, if so.
    pub halted: Option<String>,
    /// Changes were noticed that nobody has looked at yet.
    pub pending: bool,
    /// The number of the last edit that was made here.
    pub edits: u64,
    /// The system watches only some of the directories.
    pub unwatched: bool,
}

/// Waits until the folder was listed, and is what it was.
pub(super) async fn taken_up(mut state: watch::Receiver<LocalState>) -> Result<(), Closed> {
    let state = state.wait_for(|state| state.listed).await.map_err(|_| Closed::folder())?;
    state.halted.as_ref().map_or(Ok(()), |reason| Err(Closed(reason.clone())))
}

/// The local folder stands still or was closed; why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Closed(String);

impl Closed {
    pub(super) fn folder() -> Self {
        Self("the local folder was closed".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::watch;

    use super::{LocalState, taken_up};

    #[test]
    fn a_folder_is_taken_up_once_it_is_listed_unless_it_halts() {
        let (state_tx, state) = watch::channel(LocalState::default());
        let mut waiting = Box::pin(taken_up(state));
        state_tx.send_modify(|state| state.halted = Some("gone".to_owned()));
        assert!((&mut waiting).now_or_never().is_none());
        state_tx.send_modify(|state| (state.listed, state.halted) = (true, None));
        assert!(waiting.now_or_never().unwrap().is_ok());
        state_tx.send_modify(|state| state.halted = Some("gone".to_owned()));
        let error = taken_up(state_tx.subscribe()).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "gone");
    }
}
