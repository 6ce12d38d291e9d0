//! What was proved over a link: in which containers we may exec, and until when that is good.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::targets::RemoteContainer;

/// Until when a proof is good, if there is one. Whoever makes one holds the lock.
pub(super) type Until = tokio::sync::Mutex<Option<Instant>>;

/// By the container's id.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<HashMap<String, Arc<Until>>>);

impl Proofs {
    /// That of a container.
    pub(super) fn of(&self, container: &RemoteContainer) -> Arc<Until> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(container.id.clone()).or_default())
    }
}
