//! The engine's marks on their way from the system's watch to the endpoint, pure.
//!
//! Invariant: a mark goes to the endpoint when all is looked at that had changed when it came, also what waits for its writer:
//! that is looked at as usual, and at the latest when it would have been without more events.

use std::collections::VecDeque;

use tokio::time::Instant;

/// A mark that has come through the watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Through {
    /// Its number.
    pub(super) number: u64,
    /// When it came out of the watch.
    pub(super) at: Instant,
    /// When what waited by then is looked at.
    until: Instant,
}

/// The marks that have not gone to the endpoint.
#[derive(Debug, Default)]
pub(super) struct Marks {
    in_watch: Vec<u64>,
    through: VecDeque<Through>,
}

impl Marks {
    /// One goes into the watch.
    pub(super) fn ask(&mut self, number: u64) {
        self.in_watch.push(number);
    }

    /// Those that are in the watch, for the one that takes its place.
    pub(super) fn in_watch(&self) -> &[u64] {
        &self.in_watch
    }

    /// One has come out of the watch; what waits by then is looked at by `last`.
    pub(super) fn came(&mut self, number: u64, at: Instant, last: Option<Instant>) {
        self.in_watch.retain(|other| *other != number);
        self.through.push_back(Through { number, at, until: last.unwrap_or(at) });
    }

    /// When the next one is to go.
    pub(super) fn next(&self) -> Option<Instant> {
        self.through.front().map(|mark| mark.until)
    }

    /// The next one, if it is to go `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Through> {
        let due = self.next().is_some_and(|until| until <= now);
        if due { self.through.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Marks;

    #[test]
    fn a_mark_waits_for_what_waited_when_it_came_out_of_the_watch() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        let later = now + Duration::from_millis(100);
        marks.ask(1);
        marks.ask(2);
        assert_eq!((marks.in_watch(), marks.next()), (&[1, 2][..], None));
        marks.came(1, now, Some(later));
        marks.came(2, now, None);
        assert_eq!((marks.in_watch(), marks.next()), (&[][..], Some(later)));
        assert_eq!(marks.take_due(now), None);
        let numbers: Vec<u64> =
            std::iter::from_fn(|| marks.take_due(later)).map(|mark| mark.number).collect();
        assert_eq!(numbers, [1, 2]);
    }
}
