//! What the entries of directories take of memory, where many directories share it.
//!
//! Invariant: an endpoint that was refused once is full for good: it has not seen all there is, tells nothing any more and
//! ends.

use std::{fmt, sync::Arc};

use ksync_tree::Entry;

/// Bytes that an entry takes beside its names: nodes of two trees, two allocations with their counts, what stat(2) tells.
const ENTRY: usize = 384;
/// What can't be looked at, at most: it is told of as a whole, each time.
const SKIPPED: usize = 50_000;

/// Where an endpoint asks for memory.
pub trait Meter: fmt::Debug + Send + Sync {
    /// Takes so many bytes, or none of them; whether it did.
    fn take(&self, bytes: usize) -> bool;

    /// Gives back what was taken.
    fn give_back(&self, bytes: usize);
}

/// About how many bytes are taken to remember what stands at a path.
pub fn size(path: &str, entry: &Entry) -> usize {
    name_size(path) + entry.target.as_ref().map_or(0, Vec::len)
}

/// The same before it is looked at.
pub(crate) fn name_size(path: &str) -> usize {
    // The entry has its path, too.
    ENTRY + 2 * path.len()
}

/// One endpoint's share of a meter, given back when it is dropped. Without a meter there is no limit.
#[derive(Debug, Default)]
pub(crate) struct Share {
    meter: Option<Arc<dyn Meter>>,
    taken: usize,
    refused: bool,
}

impl Share {
    pub(crate) fn of(meter: Arc<dyn Meter>) -> Self {
        Self { meter: Some(meter), taken: 0, refused: false }
    }

    /// Another share of the same meter.
    pub(crate) fn another(&self) -> Self {
        Self { meter: self.meter.clone(), taken: 0, refused: false }
    }

    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let Some(meter) = &self.meter else { return true };
        if self.refused || !meter.take(bytes) {
            self.refused = true;
            return false;
        }
        self.taken += bytes;
        true
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        if let Some(meter) = &self.meter {
            let bytes = bytes.min(self.taken);
            meter.give_back(bytes);
            self.taken -= bytes;
        }
    }

    /// Nothing more is taken.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether something was refused, or so much can't be looked at that it can't be told.
    pub(crate) fn is_full(&self, skipped: usize) -> bool {
        self.meter.is_some() && (self.refused || skipped > SKIPPED)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.taken);
    }
}
