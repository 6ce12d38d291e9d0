//! Displaced files that could not be brought to safety.

use crate::dispatcher::Whose;

/// Those that are to be judged again, and why it was not possible the last time.
#[derive(Debug, Default)]
pub(crate) struct Unkept {
    files: Vec<(Whose, u64)>,
    reason: Option<String>,
    /// Something failed since the last time before this.
    failed: bool,
}

impl Unkept {
    /// One more, by its number.
    pub(crate) fn add(&mut self, of: Whose, number: u64, reason: String) {
        self.files.push((of, number));
        (self.reason, self.failed) = (Some(reason), true);
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
    use super::Unkept;

    #[test]
    fn the_reason_stands_until_nothing_fails_any_more() {
        let mut unkept = Unkept::default();
        unkept.add(None, 1, "full".to_owned());
        assert_eq!(unkept.retry(), [(None, 1)]);
        assert_eq!(unkept.reason(), Some("full"));
        unkept.add(None, 1, "full still".to_owned());
        assert_eq!((unkept.retry().len(), unkept.reason()), (1, Some("full still")));
        assert_eq!((unkept.retry().len(), unkept.reason()), (0, None));
    }
}
