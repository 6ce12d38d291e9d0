//! Marks: each asks both sides for their sums, the local side first, the containers when its answer is there. An answer comes
//! after the news of all that had happened on its side by then.
//!
//! Invariant: what the sums say is as of when the mark began.

use std::time::Instant;

/// The marks of one side, of which one is under way at most: one that is asked for meanwhile follows it.
#[derive(Debug, Default)]
pub(crate) struct SideMarks {
    /// By its number, with when it began.
    under_way: Option<(u64, Instant)>,
    next: Option<(u64, Instant)>,
}

impl SideMarks {
    /// A mark that has begun. Returns whether it is to be sent now.
    #[must_use]
    pub(crate) fn ask(&mut self, number: u64, begun: Instant) -> bool {
        let idle = self.under_way.is_none();
        *(if idle { &mut self.under_way } else { &mut self.next }) = Some((number, begun));
        idle
    }

    /// The answer to the mark of this number. Returns when it began, and the number of the one that is to be sent now; none
    /// for what is of no interest any more.
    pub(crate) fn answered(&mut self, number: u64) -> Option<(Instant, Option<u64>)> {
        let (_, begun) = self.under_way.take_if(|(under_way, _)| *under_way == number)?;
        self.under_way = self.next.take();
        Some((begun, self.under_way.map(|(number, _)| number)))
    }

    /// Whether an answer is to come.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::SideMarks;

    #[test]
    fn one_mark_is_under_way_and_the_last_one_that_came_follows() {
        let (mut marks, begun) = (SideMarks::default(), Instant::now());
        let at = |number| begun + Duration::from_secs(number);
        assert!(marks.ask(1, at(1)));
        assert!(!marks.ask(2, at(2)) && !marks.ask(3, at(3)));
        assert_eq!(marks.answered(2), None, "it was never sent");
        assert_eq!(
            marks.answered(1),
            Some((at(1), Some(3))),
            "as of when it began, and not of those that came since"
        );
        assert!(marks.is_under_way());
        assert_eq!(marks.answered(1), None);
        assert_eq!(marks.answered(3), Some((at(3), None)));
        assert!(!marks.is_under_way());
    }
}
