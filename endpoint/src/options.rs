//! What of a directory is synced, and how it is written.

use ksync_tree::{Ignore, Owner, covers, is_temp};

/// What of a directory is synced, and how it is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// Left out by pattern. What a pattern with `(?d)` matches goes with the directory that it is in.
    pub ignore: Ignore,
    /// Left out by path, with all that is below (mounts that are not synced).
    pub exclude: Vec<String>,
    /// Whom what is written belongs to.
    pub owner: Owner,
    /// Who is refused where permissions do, as the subject of a sentence; none where that is who reads it.
    pub who: Option<String>,
    /// Content of at most so many bytes is handed out with the news of a file.
    pub inline: u64,
}

impl Options {
    /// Whether nothing at `path` is synced. With patterns that take something back in, what is below it may be.
    pub(crate) fn leaves_out(&self, path: &str) -> bool {
        self.excludes(path) || self.ignore.matches(path)
    }

    /// Whether neither `path` nor anything below it is synced.
    pub(crate) fn leaves_out_all(&self, path: &str) -> bool {
        self.excludes(path) || !self.ignore.has_negation() && self.ignore.matches(path)
    }

    fn excludes(&self, path: &str) -> bool {
        self.exclude.iter().any(|above| covers(above, path)) || path.rsplit('/').next().is_some_and(is_temp)
    }
}
