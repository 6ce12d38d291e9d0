//! Permits for what takes much memory for each container of a node: both sides' listings, a transfer's buffers.
//!
//! Politeness, not a lock: a container that has waited long enough goes on without a permit, so that one that stands still
//! stops no other.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Containers of a node that compare at the same time.
const AT_ONCE: usize = 3;
/// The longest wait for a permit.
const POLITE: Duration = Duration::from_secs(10);

/// The permits of one node.
#[derive(Debug)]
pub(crate) struct ComparePermits {
    free: Semaphore,
    at_work: AtomicUsize,
}

/// Whether an attachment still waits for permits; after one wait in vain it does not.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    exhausted: AtomicBool,
}

/// Leave to compare, until it is dropped.
#[derive(Debug)]
pub(crate) struct ComparePermit<'a> {
    permits: &'a ComparePermits,
    /// None after too long a wait.
    permit: Option<SemaphorePermit<'a>>,
}

impl ComparePermits {
    pub(super) fn new() -> Self {
        Self { free: Semaphore::new(AT_ONCE), at_work: AtomicUsize::new(0) }
    }

    /// Waits up to 10 s for a permit, and goes on without one then; from there on the owner of `patience` does not wait
    /// again.
    pub(crate) async fn take(&self, patience: &Patience) -> ComparePermit<'_> {
        let polite = if patience.exhausted.load(Ordering::SeqCst) { Duration::ZERO } else { POLITE };
        let permit = timeout(polite, self.free.acquire()).await.ok().and_then(Result::ok);
        patience.exhausted.fetch_or(permit.is_none(), Ordering::SeqCst);
        self.at_work.fetch_add(1, Ordering::SeqCst);
        ComparePermit { permits: self, permit }
    }
}

impl Drop for ComparePermit<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        // The last one has nobody to leave its memory to. Without a runtime the process is about to end.
        if self.permits.at_work.fetch_sub(1, Ordering::SeqCst) == 1
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(ksync_tree::give_back);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{AT_ONCE, ComparePermits, POLITE, Patience};

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_not_given_back_is_not_waited_for_for_ever() {
        let (permits, begun) = (ComparePermits::new(), Instant::now());
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(permits.take(&Patience::default()).await);
        }
        assert_eq!(begun.elapsed().as_secs(), 0);
        let patience = Patience::default();
        for _ in 0..3 {
            assert!(permits.take(&patience).await.permit.is_none());
            assert_eq!(begun.elapsed(), POLITE, "it waits once");
        }
        held.pop();
        assert!(permits.take(&patience).await.permit.is_some());
    }
}
