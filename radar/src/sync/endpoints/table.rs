//! Which attachments are open, each with its endpoint.
//!
//! Invariant: of an attachment there is at most one endpoint. A later opening ends the earlier one, and begins when that has
//! written its last; so does one of a directory that somebody else has just let go of.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ksync_keys::Fingerprint;

use super::{
    error::Error,
    memory::{Memory, Purse},
    opened::Opened,
};
use crate::container::attachment::Attachment;

/// How long an earlier endpoint may take to end: a file system that hangs holds it up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// All endpoints of this node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Endpoints {
    all: Arc<Mutex<HashMap<String, Arc<Opened>>>>,
    memory: Memory,
}

impl Endpoints {
    /// With so much memory.
    #[cfg(test)]
    pub(super) fn within(memory: Memory) -> Self {
        Self { memory, ..Self::default() }
    }

    /// What a person's endpoints may have of radar's memory.
    pub(crate) fn purse(&self, person: Fingerprint) -> Arc<Purse> {
        self.memory.of(person)
    }

    /// The endpoint of an attachment.
    pub(crate) fn find(&self, attachment: &str) -> Result<Arc<Opened>, Error> {
        let found = self.lock().get(attachment).filter(|opened| !opened.stop.is_cancelled()).cloned();
        found.ok_or_else(|| Error::NotOpen { attachment: attachment.to_owned() })
    }

    /// The place of an attachment's only endpoint, once an earlier one has left it.
    pub(super) async fn seat(&self, attachment: &Arc<Attachment>) -> Result<Seat, Error> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let before = {
                let mut all = self.lock();
                let Some(before) = all.values().find(|other| other.precedes(attachment)).cloned() else {
                    let purse = self.purse(attachment.claim.person);
                    let opened = Arc::new(Opened::new(Arc::clone(attachment), purse));
                    all.insert(attachment.id.clone(), Arc::clone(&opened));
                    return Ok(Seat { endpoints: self.clone(), opened });
                };
                before
            };
            before.end();
            if tokio::time::timeout_at(until, before.gone.cancelled()).await.is_err() {
                return Err(Error::Busy { attachment: attachment.id.clone() });
            }
        }
    }

    /// Whether another attachment of the same directory (a volume that containers share) is at work.
    pub(super) fn shares(&self, attachment: &Attachment) -> bool {
        let identity = attachment.claim.identity;
        self.lock()
            .values()
            .any(|other| other.attachment.id != attachment.id && other.attachment.claim.identity == identity)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Opened>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of an attachment's only endpoint; free when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    endpoints: Endpoints,
    pub(super) opened: Arc<Opened>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.opened.end();
        self.endpoints.lock().remove(&self.opened.attachment.id);
        self.opened.gone.cancel();
    }
}
