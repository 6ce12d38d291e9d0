//! When bytes come out of a network that takes its time: one direction of a link with a rate and a delay.
//!
//! Invariant: bytes leave in the order in which they came, never faster than the rate over any stretch, and never
//! earlier than the delay after they came.

use std::time::{Duration, Instant};

/// One direction.
#[derive(Debug, Clone)]
pub struct Pacer {
    /// Bytes a second; none for as fast as it goes.
    rate: Option<f64>,
    delay: Duration,
    /// When the last byte taken is through the narrow part.
    free: Option<Instant>,
    /// When the last byte taken comes out.
    last: Option<Instant>,
}

impl Pacer {
    /// Nothing is held back.
    pub const fn open() -> Self {
        Self { rate: None, delay: Duration::ZERO, free: None, last: None }
    }

    /// So many bits a second, and so long from one end to the other.
    pub fn set(&mut self, bits: Option<f64>, delay: Duration) {
        self.rate = bits.map(|bits| bits / 8.0);
        self.delay = delay;
    }

    /// When the last of `bytes` that come now comes out.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Instant {
        let begins = self.free.map_or(now, |free| free.max(now));
        #[expect(clippy::cast_precision_loss, reason = "a buffer's length")]
        let needs = self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate));
        let through = begins + needs;
        self.free = Some(through);
        // A delay that was made shorter lets nothing overtake.
        let out = (through + self.delay).max(self.last.unwrap_or(now));
        self.last = Some(out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_open_link_holds_nothing_back() {
        let now = Instant::now();
        assert_eq!(Pacer::open().take(1 << 20, now), now);
    }

    #[test]
    fn rate_and_delay() {
        let now = Instant::now();
        let mut pacer = Pacer::open();
        pacer.set(Some(8_000_000.0), 25 * MS); // 1,000 bytes a ms
        assert_eq!(pacer.take(1_000, now), now + 26 * MS);
        assert_eq!(pacer.take(2_000, now), now + 28 * MS);
        // An idle while is not saved up.
        assert_eq!(pacer.take(1_000, now + 50 * MS), now + 76 * MS);
    }

    #[test]
    fn nothing_overtakes_when_the_link_gets_better() {
        let now = Instant::now();
        let mut pacer = Pacer::open();
        pacer.set(None, 25 * MS);
        assert_eq!(pacer.take(1, now), now + 25 * MS);
        pacer.set(None, Duration::ZERO);
        assert_eq!(pacer.take(1, now + MS), now + 25 * MS);
        assert_eq!(pacer.take(1, now + 30 * MS), now + 30 * MS);
    }
}
