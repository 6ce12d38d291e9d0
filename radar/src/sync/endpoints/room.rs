//! How many jobs, and bytes of content, may wait in an endpoint.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::memory::Held;

/// Jobs that may wait. An endpoint does about ten thousand in a second.
const JOBS: usize = 4096;
/// Bytes of content that may wait with them.
const BYTES: usize = 32 << 20;

#[derive(Debug, Default)]
struct Waiting {
    /// Bytes of content by the job's number, and the memory that was taken for it.
    jobs: HashMap<u64, (usize, Option<Held>)>,
    bytes: usize,
}

/// The room of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Room {
    waiting: Mutex<Waiting>,
    freed: Notify,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more job may go in.
    pub(super) fn is_free(&self) -> bool {
        let waiting = self.lock();
        waiting.jobs.len() < JOBS && waiting.bytes < BYTES
    }

    /// Waits until there may be room.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// A job goes in, which holds this memory.
    pub(super) fn take(&self, number: u64, bytes: usize, held: Option<Held>) {
        let mut waiting = self.lock();
        waiting.bytes += bytes;
        if let Some((before, _)) = waiting.jobs.insert(number, (bytes, held)) {
            waiting.bytes -= before;
        }
    }

    /// A job is over.
    pub(super) fn give_back(&self, number: u64) {
        let mut waiting = self.lock();
        if let Some((bytes, _)) = waiting.jobs.remove(&number) {
            waiting.bytes -= bytes;
        }
        self.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, JOBS, Room};

    #[tokio::test]
    async fn it_is_full_by_number_or_by_size_and_is_free_again() {
        let room = Room::default();
        (0..JOBS as u64).for_each(|number| room.take(number, 0, None));
        assert!(!room.is_free());
        room.give_back(0);
        room.freed().await;
        assert!(room.is_free());
        room.take(7, BYTES, None);
        assert!(!room.is_free());
        room.take(7, 1, None);
        assert!(room.is_free(), "a number that is used twice counts once");
    }
}
