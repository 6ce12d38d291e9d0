//! How far a container is on its way to being in sync, for whoever waits for it.

use std::fmt;

/// Entries and bytes that go to a container, since it was last in sync.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries that have gone.
    pub entries: usize,
    /// Of how many.
    pub of_entries: usize,
    /// Bytes of files that have gone.
    pub bytes: u64,
    /// Of how many.
    pub of_bytes: u64,
}

impl Progress {
    /// So many more are to go.
    pub(crate) fn more(&mut self, entries: usize, bytes: u64) {
        self.of_entries += entries;
        self.of_bytes += bytes;
    }

    /// One of this size has gone.
    pub(crate) fn gone(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
        // What was changed on its way goes more than once.
        self.of_entries = self.of_entries.max(self.entries);
        self.of_bytes = self.of_bytes.max(self.bytes);
    }

    /// Of the bytes; of the entries where there are no bytes.
    pub fn percent(&self) -> u32 {
        let (done, all) = match self.of_bytes {
            0 => (self.entries as u64, self.of_entries as u64),
            all => (self.bytes, all),
        };
        u32::try_from(done.saturating_mul(100) / all.max(1)).unwrap_or(100).min(100)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10);
        let (bytes, of_bytes) = (megabytes(self.bytes), megabytes(self.of_bytes));
        write!(f, "sent {} of {} entries, {bytes} of {of_bytes} MB", self.entries, self.of_entries)
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn what_has_gone_is_told_in_entries_and_bytes() {
        let mut progress = Progress::default();
        progress.more(3, 2_000_007);
        assert_eq!(
            (progress.to_string().as_str(), progress.percent()),
            ("sent 0 of 3 entries, 0.0 of 2.0 MB", 0)
        );
        progress.gone(1_500_000);
        assert_eq!(
            (progress.to_string().as_str(), progress.percent()),
            ("sent 1 of 3 entries, 1.5 of 2.0 MB", 74)
        );
        progress.gone(500_000);
        progress.gone(7);
        progress.gone(7);
        assert_eq!((progress.entries, progress.of_entries, progress.percent()), (4, 4, 100));
        let mut empty = Progress::default();
        empty.more(2, 0);
        empty.gone(0);
        assert_eq!(empty.percent(), 50);
    }
}
