//! What a spec says of reloading: whether, how, for which paths, and how many at a time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tracing::warn;

use super::crashes::Crashes;
use crate::config::{ReloadMode, SpecDetails};

/// An app that was just reloaded is not counted as available for so long; its pod's word may be one of before.
const BREATH: Duration = Duration::from_secs(1);
/// A pod that does not become ready after its reload is not waited for any longer.
const READY: Duration = Duration::from_secs(60);

/// Why a pattern can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the pattern `{pattern}` can't be read")]
pub(crate) struct Error {
    pattern: String,
    source: ignore::Error,
}

/// The paths for which an app is reloaded, in the syntax of gitignore: what matches counts.
#[derive(Debug)]
pub(crate) struct Which {
    patterns: Gitignore,
    /// Whether what no pattern names counts: where the first one takes out, it takes out of all.
    others: bool,
}

impl Default for Which {
    fn default() -> Self {
        Self { patterns: Gitignore::empty(), others: true }
    }
}

impl Which {
    /// Reads patterns; none is for all paths.
    pub(crate) fn new(patterns: &[String]) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            let added = builder.add_line(None, pattern);
            added.map_err(|source| Error { pattern: pattern.clone(), source })?;
        }
        let built = builder.build().map_err(|source| Error { pattern: patterns.join(" "), source })?;
        let others = patterns.first().is_none_or(|first| first.starts_with('!'));
        Ok(Self { patterns: built, others })
    }

    /// Whether a change at `path`, of a file or symlink, counts.
    pub(crate) fn counts(&self, path: &str) -> bool {
        match self.patterns.matched_path_or_any_parents(path, false) {
            Match::None => self.others,
            Match::Ignore(_) => true,
            Match::Whitelist(_) => false,
        }
    }
}

/// One spec's.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Whether changes reload.
    pub automatic: bool,
    /// How.
    pub mode: ReloadMode,
    pub(super) which: Which,
    /// Places for containers that are being reloaded; none where all may be at once.
    turns: Option<Arc<Semaphore>>,
    /// Ids of containers that are ready, as their pods say.
    ready: watch::Sender<BTreeSet<String>>,
    pub(super) crashes: Crashes,
}

impl Policy {
    /// As the spec has it.
    pub(crate) fn of(details: &SpecDetails) -> Arc<Self> {
        let which = Which::new(&details.reload_on).unwrap_or_else(|error| {
            // Written into ksync.yaml by hand: a reload too many is better than none.
            warn!(error = ksync_common::chain(&error), "reload for all paths");
            Which::default()
        });
        Arc::new(Self {
            automatic: details.reload,
            mode: details.reload_mode.clone().unwrap_or_default(),
            which,
            turns: details.reload_max_unavailable.map(|most| Arc::new(Semaphore::new(most.get()))),
            ready: watch::Sender::default(),
            crashes: Crashes::default(),
        })
    }

    /// Which containers are ready now.
    pub(crate) fn ready(&self, ids: BTreeSet<String>) {
        self.ready.send_replace(ids);
    }

    /// Waits for a place; none is needed where all may be reloaded together.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(self.turns.as_ref()?).acquire_owned().await.ok()
    }

    /// Gives a place back once the container is available again.
    pub(super) fn pass_on(&self, turn: OwnedSemaphorePermit, id: &str) {
        let (mut ready, id) = (self.ready.subscribe(), id.to_owned());
        tokio::spawn(async move {
            sleep(BREATH).await;
            // A spec that ends has no others to wait; one that is never ready must not stop the others for ever.
            let _ = timeout(READY, ready.wait_for(|ids| ids.contains(&id))).await;
            drop(turn);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, time::Duration};

    use tokio::time::Instant;

    use super::{BREATH, Policy, READY, Which};
    use crate::config::SpecDetails;

    fn policy(most: usize) -> std::sync::Arc<Policy> {
        Policy::of(&SpecDetails { reload_max_unavailable: NonZeroUsize::new(most), ..SpecDetails::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_the_pod_is_ready() {
        let policy = policy(1);
        let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect();
        policy.ready(ids(&["a", "b"]));
        let begun = Instant::now();
        policy.pass_on(policy.turn().await.unwrap(), "a");
        let turn = policy.turn().await.unwrap();
        assert_eq!(begun.elapsed(), BREATH);
        policy.ready(ids(&["a"]));
        policy.pass_on(turn, "b");
        let later = tokio::time::timeout(Duration::from_secs(20), policy.turn());
        assert!(later.await.is_err(), "`b` is not ready");
        policy.ready(ids(&["b"]));
        let turn = policy.turn().await.unwrap();
        let begun = Instant::now();
        policy.pass_on(turn, "never");
        drop(policy.turn().await.unwrap());
        assert_eq!(begun.elapsed(), BREATH + READY);
        assert!(self::policy(0).turn().await.is_none(), "all at once");
    }

    fn which(patterns: &[&str]) -> Which {
        Which::new(&patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_matches_counts_and_without_patterns_all_does() {
        assert!(which(&[]).counts("a/b"));
        let python = which(&["*.py", "!test_*", "/etc/"]);
        for (path, counts) in [
            ("a.py", true),
            ("d/e/a.py", true),
            ("d/test_a.py", false),
            ("page.html", false),
            ("etc/conf", true),
            ("d/etc/conf", false),
        ] {
            assert_eq!(python.counts(path), counts, "{path}");
        }
        let but = which(&["!docs/", "!*.md"]);
        assert!(but.counts("a.py") && !but.counts("docs/a.py") && !but.counts("d/README.md"));
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_named() {
        let error = Which::new(&["[z-a]".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "the pattern `[z-a]` can't be read");
    }
}
