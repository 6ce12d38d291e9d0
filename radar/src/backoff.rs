//! Waiting longer after each failure, with a cap and jitter, until things go well again.

use std::time::Duration;

use rand::RngExt;

/// Doubles from a first to a longest wait.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    now: Duration,
}

impl Backoff {
    /// Starts at `first`, never above `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, now: first }
    }

    /// The next wait: up to a quarter shorter than its nominal length.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.now.mul_f64(1.0 - rand::rng().random_range(0.0..0.25));
        self.now = (self.now * 2).min(self.longest);
        wait
    }

    /// It went well.
    pub(crate) fn reset(&mut self) {
        self.now = self.first;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn waits_grow_to_the_cap_and_start_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(300));
        for nominal in [100, 200, 300, 300] {
            let wait = backoff.next();
            assert!(wait <= ms(nominal) && wait >= ms(nominal * 3 / 4), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= ms(100));
    }
}
