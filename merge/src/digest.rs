//! One number for all that is in a directory, which changes with each entry by itself.

use ksync_tree::{Entry, Kind};

/// The sum of the hashes of all entries: two sides with the same one hold the same. The times of directories and symlinks are
/// not in it, and neither are set-uid, set-gid and sticky bits: each side has its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest([u64; 2]);

impl Digest {
    /// With one more entry.
    pub fn add(&mut self, path: &str, entry: &Entry) {
        let [a, b] = hash(path, entry);
        self.0 = [self.0[0].wrapping_add(a), self.0[1].wrapping_add(b)];
    }

    /// With one entry less.
    pub fn remove(&mut self, path: &str, entry: &Entry) {
        let [a, b] = hash(path, entry);
        self.0 = [self.0[0].wrapping_sub(a), self.0[1].wrapping_sub(b)];
    }

    /// From what [`Digest::to_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [mut a, mut b] = [[0; 8]; 2];
        a.copy_from_slice(&bytes[..8]);
        b.copy_from_slice(&bytes[8..]);
        Self([u64::from_le_bytes(a), u64::from_le_bytes(b)])
    }

    /// As 16 bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0[0].to_le_bytes());
        bytes[8..].copy_from_slice(&self.0[1].to_le_bytes());
        bytes
    }
}

fn hash(path: &str, entry: &Entry) -> [u64; 2] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_bytes());
    hasher.update(&[
        0,
        match entry.kind {
            Kind::File => 1,
            Kind::Dir => 2,
            Kind::Symlink => 3,
        },
    ]);
    if entry.kind != Kind::Symlink {
        hasher.update(&(entry.mode & 0o777).to_le_bytes());
    }
    if entry.kind == Kind::File {
        hasher.update(&entry.size.to_le_bytes());
        hasher.update(&entry.mtime_ns.to_le_bytes());
        hasher.update(entry.hash.as_ref().map_or(&[], |hash| hash.as_slice()));
    }
    if let Some(target) = &entry.target {
        hasher.update(target);
    }
    let bytes = hasher.finalize();
    let half = |at: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&bytes.as_bytes()[at..at + 8]);
        u64::from_le_bytes(half)
    };
    [half(0), half(8)]
}
