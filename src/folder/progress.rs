//! How far a transfer is, for whoever waits for it.

use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use ksync_tree::Entry;

/// What is sent, and how much of it is on its way.
#[derive(Debug)]
pub(super) struct Progress {
    /// In the order of sending.
    sizes: Vec<u64>,
    all: u64,
    begun: AtomicUsize,
    bytes: AtomicU64,
}

impl Progress {
    /// Of sending the entries at `paths`, of which `listed` tells the sizes.
    pub(super) fn of(listed: &[Entry], paths: &[String]) -> Self {
        let sizes: HashMap<&str, u64> =
            listed.iter().map(|entry| (entry.path.as_str(), entry.size)).collect();
        let sizes: Vec<u64> =
            paths.iter().map(|path| sizes.get(path.as_str()).copied().unwrap_or(0)).collect();
        let all = sizes.iter().sum();
        Self { sizes, all, begun: AtomicUsize::new(0), bytes: AtomicU64::new(0) }
    }

    /// The next entry is begun, so the one before it is on its way.
    pub(super) fn next(&self) {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        let last = begun.checked_sub(1).and_then(|last| self.sizes.get(last));
        self.bytes.fetch_add(last.copied().unwrap_or(0), Ordering::Relaxed);
    }

    /// Of the bytes; of the entries where there are no bytes.
    pub(super) fn percent(&self) -> u32 {
        let (done, all) = match self.all {
            0 => (self.sent() as u64, self.sizes.len() as u64),
            all => (self.bytes.load(Ordering::Relaxed), all),
        };
        u32::try_from(done.saturating_mul(100) / all.max(1)).unwrap_or(100).min(100)
    }

    fn sent(&self) -> usize {
        self.begun.load(Ordering::Relaxed).saturating_sub(1)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10);
        let bytes = megabytes(self.bytes.load(Ordering::Relaxed));
        let (sent, of) = (self.sent(), self.sizes.len());
        write!(f, "sent {sent} of {of} entries, {bytes} of {} MB", megabytes(self.all))
    }
}

#[cfg(test)]
mod tests {
    use ksync_tree::{Entry, Kind};

    use super::Progress;

    fn file(path: &str, size: u64) -> Entry {
        let path = path.to_owned();
        Entry { path, kind: Kind::File, size, mtime_ns: 0, mode: 0o644, hash: None, target: None }
    }

    #[test]
    fn what_was_sent_counts_when_the_next_is_begun() {
        let listed = [file("a", 1_500_000), file("b", 500_000), file("c", 7)];
        let progress = Progress::of(&listed, &["a".into(), "b".into(), "new".into()]);
        assert_eq!(
            (progress.to_string().as_str(), progress.percent()),
            ("sent 0 of 3 entries, 0.0 of 2.0 MB", 0)
        );
        progress.next();
        progress.next();
        assert_eq!(
            (progress.to_string().as_str(), progress.percent()),
            ("sent 1 of 3 entries, 1.5 of 2.0 MB", 75)
        );
        progress.next();
        assert_eq!(progress.percent(), 100);
        let empty = Progress::of(&[file("e", 0), file("f", 0)], &["e".into(), "f".into()]);
        empty.next();
        empty.next();
        assert_eq!(empty.percent(), 50);
    }
}
