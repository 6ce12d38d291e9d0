//! One entry of a tree as plain data, and what differs between two listings. Nothing here touches a file system.
/// The kinds that are synced; everything else is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, never followed.
    Symlink,
}

/// One file, directory or symlink below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, `/` between names.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// In bytes, for regular files; else 0.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Permission bits without set-uid, set-gid and sticky (`& 0o777`); 0o777 for symlinks.
    pub mode: u32,
    /// BLAKE3 of a regular file's content, where it was asked for.
    pub hash: Option<[u8; 32]>,
    /// Where a symlink points, as it is written.
    pub target: Option<Vec<u8>>,
}

/// An entry that is left out of a listing or an archive, and why. Where it is a directory, what is below it is
/// unknown: it must not be taken for gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Relative to the root; lossy where the name is not UTF-8.
    pub path: String,
    /// A phrase for a person, without a period.
    pub reason: String,
}

/// In what two entries differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DifferenceKind {
    /// File, directory or symlink.
    Kind,
    /// Size or hash of a file (its mtime too where a hash is missing), or a symlink's target.
    Content,
    /// Permission bits of a file or directory.
    Mode,
    /// Only the mtime, of a file.
    Mtime,
}

impl Entry {
    /// The weightiest difference to `other`, paths aside; `None` when both are the same. The mtimes of directories and symlinks
    /// don't count: they change with every change below, and not every system can set a symlink's.
    pub fn difference(&self, other: &Self) -> Option<DifferenceKind> {
        if self.kind != other.kind {
            return Some(DifferenceKind::Kind);
        }
        let same_content = match self.kind {
            Kind::Dir => true,
            Kind::Symlink => self.target == other.target,
            Kind::File => {
                self.size == other.size
                    && match (self.hash, other.hash) {
                        (Some(x), Some(y)) => x == y,
                        _ => self.mtime_ns == other.mtime_ns,
                    }
            }
        };
        if !same_content {
            return Some(DifferenceKind::Content);
        }
        if self.kind != Kind::Symlink && self.mode != other.mode {
            return Some(DifferenceKind::Mode);
        }
        (self.kind == Kind::File && self.mtime_ns != other.mtime_ns).then_some(DifferenceKind::Mtime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, hash: u8, mtime_ns: i64, mode: u32) -> Entry {
        Entry {
            path: path.into(),
            kind: Kind::File,
            size: 3,
            mtime_ns,
            mode,
            hash: Some([hash; 32]),
            target: None,
        }
    }

    #[test]
    fn each_difference_is_named_once() {
        let dir = |path: &str, mtime_ns| Entry {
            kind: Kind::Dir,
            hash: None,
            size: 0,
            ..file(path, 0, mtime_ns, 0o755)
        };
        let link = |target: &[u8]| Entry {
            kind: Kind::Symlink,
            hash: None,
            target: Some(target.into()),
            ..file("l", 0, 1, 0o777)
        };
        let cases = [
            (dir("d", 1), dir("d", 2), None),
            (file("f", 1, 1, 0o644), file("f", 2, 1, 0o600), Some(DifferenceKind::Content)),
            (file("f", 1, 1, 0o644), file("f", 1, 1, 0o755), Some(DifferenceKind::Mode)),
            (file("f", 1, 1, 0o644), dir("f", 1), Some(DifferenceKind::Kind)),
            (link(b"x"), link(b"y"), Some(DifferenceKind::Content)),
            (file("f", 1, 1, 0o644), file("f", 1, 2, 0o644), Some(DifferenceKind::Mtime)),
            (file("f", 1, 1, 0o644), file("g", 1, 1, 0o644), None),
        ];
        for (a, b, expected) in cases {
            assert_eq!(a.difference(&b), expected, "{a:?} and {b:?}");
        }
    }

    #[test]
    fn without_hashes_the_mtime_is_the_content() {
        let bare = |mtime_ns| Entry { hash: None, ..file("a", 0, mtime_ns, 0o644) };
        assert_eq!(bare(1).difference(&bare(2)), Some(DifferenceKind::Content));
        assert_eq!(bare(1).difference(&bare(1)), None);
    }
}
