//! A local folder's patterns over time: what the specs leave out and what is mounted in containers, and that they are in
//! place whenever syncthing looks.
//!
//! Invariant: nothing is scanned without them. Where the file was taken away, it is not put back while the directory is
//! being removed: that would keep `rm -rf` from ending.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use super::stignore::{self, Error};

/// A directory that nothing was removed from for so long is not being removed.
const QUIET: Duration = Duration::from_millis(300);

/// The patterns of one local path.
pub(in crate::local) struct ActivePatterns {
    root: PathBuf,
    /// What the specs leave out.
    specs: Vec<String>,
    /// What is mounted in containers.
    mounts: BTreeSet<String>,
    /// What the file said when it was last found right: each edit is scanned, and patterns take long to be read.
    right: Option<String>,
    missing: bool,
    /// While the file is not there: when something was last removed.
    removing: Option<Instant>,
}

impl ActivePatterns {
    pub(in crate::local) fn new(root: &Path, specs: Vec<String>) -> Self {
        Self {
            root: root.to_owned(),
            specs,
            mounts: BTreeSet::new(),
            right: None,
            missing: false,
            removing: None,
        }
    }

    /// Leaves out these mounts too; returns whether that is news.
    pub(in crate::local) fn exclude(&mut self, paths: Vec<String>) -> Result<bool, Error> {
        let all: BTreeSet<String> = self.mounts.iter().cloned().chain(paths).collect();
        let news = all != self.mounts;
        if news {
            stignore::install(&self.root, &self.specs, &all)?;
            self.mounts = all;
            self.right = None;
        }
        Ok(news)
    }

    /// Something happened at `path`, in a directory that may be on its way out.
    pub(in crate::local) fn changed(&mut self, path: &str) {
        if self.removing.is_some() && std::fs::symlink_metadata(self.root.join(path)).is_err() {
            self.removing = Some(Instant::now());
        }
    }

    /// Whether they were not in place when that was last looked at, and could not be put there.
    pub(in crate::local) const fn are_missing(&self) -> bool {
        self.missing
    }

    /// Puts the file in place where it is not as it should be. Returns until when a scan has to wait for that.
    pub(in crate::local) fn ensure(&mut self) -> Result<Option<Instant>, Error> {
        let ensured = self.put();
        self.missing = ensured.is_err();
        ensured
    }

    fn put(&mut self) -> Result<Option<Instant>, Error> {
        let found = stignore::read(&self.root);
        let right = |text: &String| stignore::is_right(text, &self.specs, &self.mounts);
        if found.as_ref().is_some_and(|text| self.right.as_ref() == Some(text) || right(text)) {
            (self.right, self.removing) = (found, None);
            return Ok(None);
        }
        let now = Instant::now();
        let until = *self.removing.get_or_insert(now) + QUIET;
        if now < until {
            return Ok(Some(until));
        }
        stignore::install(&self.root, &self.specs, &self.mounts)?;
        self.removing = None;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::advance;

    use super::{ActivePatterns, QUIET};

    #[tokio::test(start_paused = true)]
    async fn somebody_elses_that_can_not_be_used_are_missing_until_they_can() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".stignore");
        let mut patterns = ActivePatterns::new(dir.path(), Vec::new());
        fs::write(&file, ".git\n").unwrap();
        assert!(patterns.ensure().unwrap().is_none() && !patterns.are_missing());
        fs::write(&file, "*.log\n").unwrap();
        assert!(patterns.ensure().unwrap().is_some(), "it may be on its way out");
        advance(QUIET).await;
        assert!(patterns.ensure().is_err() && patterns.are_missing());
        assert_eq!(fs::read_to_string(&file).unwrap(), "*.log\n");
        fs::write(&file, "*.log\n.git\n").unwrap();
        assert!(patterns.ensure().unwrap().is_none() && !patterns.are_missing());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_away_is_put_back_when_nothing_is_removed_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".stignore");
        let mut patterns = ActivePatterns::new(dir.path(), vec!["*.log".to_owned()]);
        assert!(patterns.exclude(vec!["mnt".to_owned()]).unwrap() && file.exists());
        assert!(!patterns.exclude(vec!["mnt".to_owned()]).unwrap());
        assert_eq!(patterns.ensure().unwrap(), None);
        fs::remove_file(&file).unwrap();
        for _ in 0..10 {
            assert!(patterns.ensure().unwrap().is_some() && !file.exists());
            advance(QUIET * 2 / 3).await;
            patterns.changed("removed");
        }
        // An edit does not put it off.
        fs::write(dir.path().join("edited"), "").unwrap();
        advance(QUIET * 2 / 3).await;
        patterns.changed("edited");
        advance(QUIET).await;
        assert_eq!(patterns.ensure().unwrap(), None);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("*.log") && text.contains("/mnt"), "{text}");
    }
}
