//! When to ask for events again while one comes after the other.
//!
//! Each answer costs syncthing half a millisecond of the processor, however few events are in it. A single edit is told
//! as it happens; where thousands of files come, a few milliseconds of rest let their events come together.

use std::time::Duration;

use tokio::time::Instant;

/// Answers that come one after the other without a rest: more than two edits have at the same time.
const FREE: u32 = 20;
/// What counts as one after the other.
const CLOSE: Duration = Duration::from_millis(20);
const REST: Duration = Duration::from_millis(5);

/// Counts the answers of one who asks for events again and again.
#[derive(Debug)]
pub struct Pace {
    last: Instant,
    close: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { last: Instant::now(), close: 0 }
    }
}

impl Pace {
    /// To be awaited after each answer.
    pub async fn rest(&mut self) {
        self.close = if self.last.elapsed() < CLOSE { self.close + 1 } else { 0 };
        if self.close > FREE {
            tokio::time::sleep(REST).await;
        }
        self.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_edit_has_no_rest_and_a_burst_has() {
        let mut pace = Pace::default();
        let begun = Instant::now();
        for _ in 0..FREE {
            pace.rest().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..3 {
            pace.rest().await;
        }
        assert_eq!(begun.elapsed(), REST * 3);
        tokio::time::sleep(CLOSE).await;
        pace.rest().await;
        assert_eq!(begun.elapsed(), REST * 3 + CLOSE, "the next edit is told at once again");
    }
}
