//! What of a directory is synced, and how it is written.

use ksync_tree::{Ignore, Owner, covers, is_temp};

/// What of a directory is synced, and how it is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// Left out by pattern.
    pub ignore: Ignore,
    /// Left out by path, with all that is below (mounts that are not synced).
    pub exclude: Vec<String>,
    /// Left out by pattern, and of no worth to anybody: they go with the directory that they are in.
    pub junk: Ignore,
    /// Whom what is written belongs to.
    pub owner: Owner,
    /// Content of at most so many bytes is handed out with the news of a file.
    pub inline: u64,
}

/// Names that are left out by default and are worth something all the same: they never go with their directory.
const PRECIOUS: &[&str] = &[".git", ".stversions", ".stfolder", ".stignore"];

impl Options {
    /// What is left out by default and can be made anew, and what a person's `patterns` say goes with its directory (`(?d)`), but
    /// for what they name without that.
    pub fn junk(patterns: &[String]) -> Ignore {
        let goes = |pattern: &&String| pattern.starts_with("(?d)");
        let named = patterns.iter().filter(|pattern| !pattern.starts_with('!') && !goes(pattern));
        let named = named.map(|pattern| format!("!{pattern}"));
        let defaults = Ignore::defaults().iter().filter(|name| !PRECIOUS.contains(name));
        let defaults = defaults.map(|name| (*name).to_owned());
        let names: Vec<String> = named.chain(patterns.iter().filter(goes).cloned()).chain(defaults).collect();
        // The defaults can be read: the tree crate's tests say so. With patterns that can't, nothing is junk.
        Ignore::new(&names).unwrap_or_default()
    }

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
