//! When the local syncthing must be given an address that it has not dialled yet.
//!
//! Invariant: only while the link is up, nothing is carried, and the present address was dialled before. A far side that
//! drops every connection is dialled less and less often.

use std::time::Duration;

use tokio::time::Instant;

/// How long syncthing has for redialling by itself.
const FIRST: Duration = Duration::from_millis(20);
/// As often as it would dial by itself.
const MOST: Duration = Duration::from_secs(5);
/// Several folders that begin at once drop the connection several times: so many ends in a row are dialled equally fast.
const STEP: u32 = 4;
/// A connection that lived for so long was a good one.
const GOOD: Duration = Duration::from_secs(2);

/// What is known of dials and connections.
#[derive(Debug, Default)]
pub(super) struct Redial {
    up: bool,
    carried: usize,
    dialled: bool,
    short: u32,
    at: Option<Instant>,
}

impl Redial {
    /// When to move.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Somebody dialled, or can't be heard.
    pub(super) fn dialled(&mut self) {
        (self.dialled, self.at) = (true, None);
    }

    /// What was dialled is carried.
    pub(super) fn carries(&mut self) {
        self.carried += 1;
    }

    /// A connection ended after it had `lived`.
    pub(super) fn ended(&mut self, lived: Duration, now: Instant) {
        self.carried -= 1;
        self.short = if lived < GOOD { self.short.saturating_add(1) } else { 0 };
        self.look(now);
    }

    /// The link came or went.
    pub(super) fn link(&mut self, up: bool, now: Instant) {
        (self.up, self.short) = (up, 0);
        self.look(now);
    }

    /// The listener has moved.
    pub(super) fn moved(&mut self) {
        (self.dialled, self.at) = (false, None);
    }

    fn look(&mut self, now: Instant) {
        let wait = FIRST.saturating_mul(1_u32.checked_shl(self.short / STEP).unwrap_or(u32::MAX)).min(MOST);
        self.at = (self.up && self.dialled && self.carried == 0).then(|| now + wait);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{FIRST, GOOD, MOST, Redial};

    #[test]
    fn the_listener_moves_only_when_nobody_dials_a_port_that_was_used() {
        let now = Instant::now();
        let mut redial = Redial::default();
        redial.link(true, now);
        assert_eq!(redial.at(), None, "never dialled: there is nobody yet, or it is dialled at once");
        redial.dialled();
        redial.carries();
        redial.ended(GOOD, now);
        assert_eq!(redial.at(), Some(now + FIRST));
        redial.dialled();
        assert_eq!(redial.at(), None, "syncthing came by itself");
        redial.carries();
        redial.link(false, now);
        redial.ended(GOOD, now);
        assert_eq!(redial.at(), None, "there is no way");
        redial.link(true, now);
        assert_eq!(redial.at(), Some(now + FIRST), "what was dialled in vain rests");
        redial.moved();
        assert_eq!(redial.at(), None);
    }

    #[test]
    fn a_far_side_that_drops_every_connection_is_given_rest() {
        let now = Instant::now();
        let mut redial = Redial::default();
        redial.link(true, now);
        let mut drop_one = |lived| {
            redial.dialled();
            redial.carries();
            redial.ended(lived, now);
            redial.at().unwrap() - now
        };
        let short: Vec<Duration> = (0..400).map(|_| drop_one(Duration::ZERO)).collect();
        assert!(short[..12].iter().sum::<Duration>() < Duration::from_secs(1), "{short:?}");
        assert!(short.is_sorted() && short.last() == Some(&MOST));
        assert_eq!(drop_one(GOOD), FIRST);
    }
}
