//! How far the queue is read since it was asked to be drained, pure.

use std::time::Instant;

/// Events that are read together at most.
pub(super) const AT_ONCE: usize = 4096;

/// The queue as of a question, which is answered when all that was in it by then is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Drain {
    /// Nobody asks.
    #[default]
    Idle,
    /// Events are read, of which at most so many were in the queue when it was asked.
    Reads(usize),
    /// They are read; what is told later of them is by then.
    Waits(Instant),
}

impl Drain {
    /// So many `events` were read; what they leave to be told later is told at `last` at the latest.
    pub(super) fn read(&mut self, events: usize, last: Option<Instant>) {
        let Self::Reads(left) = *self else { return };
        let is_empty = events < AT_ONCE || events >= left;
        *self = if is_empty {
            Self::Waits(last.unwrap_or_else(Instant::now))
        } else {
            Self::Reads(left - events)
        };
    }

    /// When it is over, where that is known.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Waits(until) => Some(*until),
            Self::Idle | Self::Reads(_) => None,
        }
    }

    /// Whether it is over `now`, told once.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let over = self.due().is_some_and(|due| due <= now);
        if over {
            *self = Self::Idle;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{AT_ONCE, Drain};

    #[test]
    fn it_is_over_when_what_was_there_is_read_and_told() {
        let (mut drain, now) = (Drain::default(), Instant::now());
        drain.read(1, None);
        assert!(!drain.is_over(now), "nobody asks");
        drain = Drain::Reads(2 * AT_ONCE + 1);
        let later = now + Duration::from_millis(20);
        for _ in 0..2 {
            drain.read(AT_ONCE, Some(later));
            assert_eq!(drain.due(), None, "there is more");
        }
        // However many came since.
        drain.read(AT_ONCE, Some(later));
        assert_eq!(drain.due(), Some(later));
        drain.read(AT_ONCE, Some(later + Duration::from_secs(1)));
        assert!(!drain.is_over(now) && drain.is_over(later) && !drain.is_over(later));
        drain = Drain::Reads(2 * AT_ONCE);
        drain.read(AT_ONCE - 1, None);
        assert!(drain.is_over(Instant::now()));
    }
}
