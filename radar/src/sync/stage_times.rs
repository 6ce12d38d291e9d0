//! The time at which a folder last passed each stage of a change, for the client's account of an edit's latency.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// A part of the way that is this node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The client's index was received.
    Index,
    /// syncthing finished an item.
    Finished,
    /// The followers have what was finished.
    Copied,
}

/// The newest moment of each stage. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageTimes(Arc<Mutex<[Option<Instant>; 3]>>);

impl StageTimes {
    /// It is now.
    pub(crate) fn note(&self, stage: Stage) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[stage as usize] = Some(Instant::now());
    }

    /// Microseconds since then, at least one; 0 when it never was.
    pub(crate) fn ago_us(&self, stage: Stage) -> u64 {
        let at = self.0.lock().unwrap_or_else(PoisonError::into_inner)[stage as usize];
        at.map_or(0, |at| ksync_common::micros(at.elapsed()).max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Stage, StageTimes};

    #[tokio::test(start_paused = true)]
    async fn the_newest_moment_counts_and_none_is_none() {
        let stage_times = StageTimes::default();
        let shared = stage_times.clone();
        shared.note(Stage::Index);
        tokio::time::advance(Duration::from_millis(3)).await;
        assert_eq!((stage_times.ago_us(Stage::Index), stage_times.ago_us(Stage::Copied)), (3000, 0));
        shared.note(Stage::Index);
        assert_eq!(stage_times.ago_us(Stage::Index), 1, "just now is not never");
    }
}
