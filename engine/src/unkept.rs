//! Displaced files that could not be brought to safety.

use std::collections::BTreeSet;

use crate::dispatcher::Whose;

/// Those that are to be judged again, and why it was not possible the last time.
#[derive(Debug, Default)]
pub(crate) struct Unkept {
    /// That have failed once: a file may have moved with its directory while it was on its way.
    once: BTreeSet<(Whose, u64)>,
    files: Vec<(Whose, u64)>,
    reason: Option<String>,
    /// Something failed again since the last time before this.
    failed: bool,
}

impl Unkept {
    /// One more, by its number. Whether it is to be judged again at once, because that has not been done yet.
    pub(crate) fn add(&mut self, of: &Whose, number: u64, reason: String) -> bool {
        if self.once.insert((of.clone(), number)) {
            return true;
        }
        self.files.push((of.clone(), number));
        (self.reason, self.failed) = (Some(reason), true);
        false
    }

    /// One is in safety.
    pub(crate) fn remove(&mut self, of: &Whose, number: u64) {
        if !self.once.is_empty() {
            self.once.remove(&(of.clone(), number));
        }
    }

    /// A container's attachment has ended: what it left there is told of anew when there is another.
    pub(crate) fn forget(&mut self, name: &str) {
        let others = |of: &Whose| of.as_ref().is_none_or(|(of, _)| **of != *name);
        self.once.retain(|(of, _)| others(of));
        self.files.retain(|(of, _)| others(of));
    }

    /// All of them: none is here any more. What fails again is added again.
    pub(crate) fn retry(&mut self) -> Vec<(Whose, u64)> {
        if !std::mem::take(&mut self.failed) {
            self.reason = None;
        }
        std::mem::take(&mut self.files)
    }

    /// Why something is not in safety; none where everything is.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Unkept;

    #[test]
    fn the_reason_stands_until_nothing_fails_any_more() {
        let mut unkept = Unkept::default();
        assert!(unkept.add(&None, 1, "moved".to_owned()));
        assert_eq!((unkept.retry().len(), unkept.reason()), (0, None));
        assert!(!unkept.add(&None, 1, "full".to_owned()));
        assert_eq!(unkept.retry(), [(None, 1)]);
        assert_eq!(unkept.reason(), Some("full"));
        assert!(!unkept.add(&None, 1, "full still".to_owned()));
        assert_eq!((unkept.retry().len(), unkept.reason()), (1, Some("full still")));
        assert_eq!((unkept.retry().len(), unkept.reason()), (0, None));
        unkept.remove(&None, 1);
        assert!(unkept.once.is_empty());
    }

    #[test]
    fn nothing_is_remembered_of_an_attachment_that_has_ended() {
        let mut unkept = Unkept::default();
        let [one, other] = ["one", "other"].map(|name| Some((Arc::from(name), 7)));
        for of in [&one, &other, &None] {
            assert!(unkept.add(of, 1, "moved".to_owned()));
            assert!(!unkept.add(of, 1, "full".to_owned()));
        }
        unkept.forget("one");
        assert_eq!(unkept.once.len(), 2);
        assert_eq!(unkept.retry(), [(other, 1), (None, 1)]);
    }
}
