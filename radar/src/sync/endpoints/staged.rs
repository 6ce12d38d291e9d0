//! Large files that were written beside their places, and wait for the jobs that give them their names.
//!
//! Invariant: what no job takes is gone with its endpoint, removed by the workers.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ksync_tree::{Entry, Staging};

use super::error::Error;
use crate::container::power::Workers;

/// Staged files that may wait for their jobs.
const WAITING: usize = 256;

#[derive(Debug)]
struct One {
    path: String,
    hash: [u8; 32],
    staging: Staging,
}

/// Staged files by the numbers of their jobs; none any more once the endpoint has ended.
#[derive(Debug)]
pub(super) struct Staged {
    all: Mutex<Option<HashMap<u64, One>>>,
    workers: Workers,
}

impl Staged {
    /// None yet.
    pub(super) fn new(workers: Workers) -> Self {
        Self { all: Mutex::new(Some(HashMap::new())), workers }
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, One>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file for a job, where it is for that path and has that content.
    pub(super) fn take(&self, number: u64, path: &str, new: Option<&Entry>) -> Option<Staging> {
        let one = self.lock().as_mut()?.remove(&number)?;
        let fits = one.path == path && new.is_some_and(|new| new.hash == Some(one.hash));
        if fits {
            return Some(one.staging);
        }
        self.workers.discard(one);
        None
    }

    /// A complete file waits for its job, unless none comes any more. `attachment` is what an error names.
    pub(super) fn add(
        &self,
        attachment: &str,
        number: u64,
        path: String,
        hash: [u8; 32],
        staging: Staging,
    ) -> Result<(), Error> {
        let attachment = || attachment.to_owned();
        let mut staged = self.lock();
        let Some(all) = staged.as_mut() else { return Err(Error::NotOpen { attachment: attachment() }) };
        if all.len() >= WAITING {
            return Err(Error::Staged { attachment: attachment(), limit: WAITING });
        }
        all.insert(number, One { path, hash, staging });
        Ok(())
    }

    /// No job comes any more.
    pub(super) fn end(&self) {
        let left = self.lock().take();
        if left.as_ref().is_some_and(|left| !left.is_empty()) {
            self.workers.discard(left);
        }
    }
}
