//! The displaced files of one side, on their way to a safe place: each goes there once, however often it is told of.

use std::collections::{BTreeMap, HashMap};

use ksync_merge::Keep;

/// Files in safety that are remembered: one of them may be told of once more before its owner has heard that it is safe.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    UnderWay,
    Safe,
}

/// What is to be done with a file that is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is to be brought to safety, as this.
    Keep(Keep),
    /// It is on its way there.
    Wait,
    /// It is there, and may go.
    Release,
}

/// Displaced files by their number.
#[derive(Debug, Default)]
pub(crate) struct Safekeeping {
    reasons: HashMap<u64, Keep>,
    stages: BTreeMap<u64, Stage>,
}

impl Safekeeping {
    /// This is why a file is to be kept.
    pub(crate) fn because(&mut self, number: u64, why: Keep) {
        self.reasons.insert(number, why);
    }

    /// A file is told of.
    pub(crate) fn told(&mut self, number: u64) -> Told {
        match self.stages.get(&number) {
            Some(Stage::UnderWay) => Told::Wait,
            Some(Stage::Safe) => Told::Release,
            None => {
                self.stages.insert(number, Stage::UnderWay);
                Told::Keep(self.reasons.get(&number).copied().unwrap_or(Keep::Conflict))
            }
        }
    }

    /// A file is in safety, or could not be brought there.
    pub(crate) fn over(&mut self, number: u64, safe: bool) {
        if !safe {
            self.stages.remove(&number);
            return;
        }
        self.reasons.remove(&number);
        self.stages.insert(number, Stage::Safe);
        if self.stages.len() > REMEMBERED
            && let Some(oldest) =
                self.stages.iter().find(|(_, stage)| **stage == Stage::Safe).map(|(number, _)| *number)
        {
            self.stages.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use ksync_merge::Keep;

    use super::{REMEMBERED, Safekeeping, Told};

    #[test]
    fn a_file_is_kept_once_and_as_what_it_was_displaced() {
        let mut files = Safekeeping::default();
        files.because(1, Keep::Deleted);
        assert_eq!(files.told(1), Told::Keep(Keep::Deleted));
        assert_eq!(files.told(1), Told::Wait, "it was moved meanwhile");
        files.over(1, false);
        assert_eq!(files.told(1), Told::Keep(Keep::Deleted));
        files.over(1, true);
        assert_eq!(files.told(1), Told::Release);
        for number in 2..REMEMBERED as u64 + 10 {
            files.told(number);
            files.over(number, true);
        }
        assert!(files.stages.len() <= REMEMBERED);
    }
}
