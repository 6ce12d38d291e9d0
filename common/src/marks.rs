//! Marks on their way through a queue that is asked one question at a time.
//!
//! Invariant: a mark is through when a question was answered that was asked after it had come.

/// Marks, by number, that wait for their queue.
#[derive(Debug, Default)]
pub struct Marks {
    /// The question under way was asked for these.
    in_queue: Vec<u64>,
    /// They have come since.
    next: Vec<u64>,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Drained {
    /// These are through, in the order in which they came.
    pub through: Vec<u64>,
    /// The queue is to be asked again, for others.
    pub again: bool,
}

impl Marks {
    /// Takes one in. Returns whether the queue is to be asked now.
    pub fn ask(&mut self, number: u64) -> bool {
        let idle = self.in_queue.is_empty();
        if idle { &mut self.in_queue } else { &mut self.next }.push(number);
        idle
    }

    /// The question was answered.
    pub fn drained(&mut self) -> Drained {
        let next = std::mem::take(&mut self.next);
        let through = std::mem::replace(&mut self.in_queue, next);
        Drained { through, again: !self.in_queue.is_empty() }
    }

    /// Whether a question is under way.
    pub fn is_asking(&self) -> bool {
        !self.in_queue.is_empty()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.in_queue.len() + self.next.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Drained, Marks};

    #[test]
    fn a_mark_waits_for_a_question_that_was_asked_after_it_had_come() {
        let mut marks = Marks::default();
        assert!(marks.ask(1));
        assert!(!marks.ask(2) && !marks.ask(3), "one question at a time");
        assert_eq!(marks.waiting(), 3);
        assert_eq!(marks.drained(), Drained { through: vec![1], again: true });
        assert!(!marks.ask(4));
        assert_eq!(marks.drained(), Drained { through: vec![2, 3], again: true });
        assert_eq!(marks.drained(), Drained { through: vec![4], again: false });
        assert!(!marks.is_asking() && marks.ask(5));
    }
}
