//! Turns at what takes much memory for each container of a node: both sides' listings, a transfer's buffers.
//!
//! Politeness, not a lock: who has waited long enough goes on all the same, so that a container that stands still stops
//! no other.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// How many have their turn at the same time.
const AT_ONCE: usize = 3;
/// How long anybody waits for it.
const POLITE: Duration = Duration::from_secs(10);

/// The turns of one node.
#[derive(Debug)]
pub struct Turns {
    free: Semaphore,
    taken: AtomicUsize,
}

/// Of one attachment; whether it is at an end.
#[derive(Debug, Default)]
pub struct Patience(AtomicBool);

/// Lasts until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    /// None after too long a wait.
    permit: Option<SemaphorePermit<'a>>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { free: Semaphore::new(AT_ONCE), taken: AtomicUsize::new(0) }
    }

    /// Waits for a turn, unless its `patience` is at an end: it is when it has waited too long once.
    pub async fn take(&self, patience: &Patience) -> Turn<'_> {
        let polite = if patience.0.load(Ordering::SeqCst) { Duration::ZERO } else { POLITE };
        let permit = timeout(polite, self.free.acquire()).await.ok().and_then(Result::ok);
        patience.0.fetch_or(permit.is_none(), Ordering::SeqCst);
        self.taken.fetch_add(1, Ordering::SeqCst);
        Turn { turns: self, permit }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        // The last one has nobody to leave its memory to. Without a runtime the process is about to end.
        if self.turns.taken.fetch_sub(1, Ordering::SeqCst) == 1
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(ksync_tree::give_back);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{AT_ONCE, POLITE, Patience, Turns};

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_end_is_not_waited_for_for_ever() {
        let (turns, begun) = (Turns::new(), Instant::now());
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.take(&Patience::default()).await);
        }
        assert_eq!(begun.elapsed().as_secs(), 0);
        let patience = Patience::default();
        for _ in 0..3 {
            assert!(turns.take(&patience).await.permit.is_none());
            assert_eq!(begun.elapsed(), POLITE, "it waits once");
        }
        held.pop();
        assert!(turns.take(&patience).await.permit.is_some());
    }
}
