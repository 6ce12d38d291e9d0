//! Containers that ended soon after their app was reloaded: a bad edit, most likely.
//!
//! kubelet starts such a container again, from its image, and the attach brings the same code there once more. To reload it
//! at once would go on for ever, and keep even the image's app from running: so the reload rests, longer each time, until
//! something is edited here.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::targets::RemoteContainer;

/// An end so soon after a reload is laid to its charge.
const YOUNG: Duration = Duration::from_secs(30);
/// The first rest, and the longest.
const RESTS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// What happened to the containers of one name in a pod, one after the other.
#[derive(Debug)]
struct CrashRecord {
    /// The container that was reloaded.
    id: String,
    /// When, and after how many edits here.
    reloaded: (Instant, u64),
    /// How long it lived after it.
    lived: Option<Duration>,
    /// Ends in a row.
    ends: u32,
}

/// A reload that rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RestingReload {
    pub(super) until: Instant,
    /// Why, in a phrase.
    pub(super) why: String,
}

/// All of one spec, by pod and container name.
#[derive(Debug, Default)]
pub(super) struct Crashes(Mutex<HashMap<(String, String), CrashRecord>>);

impl Crashes {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), CrashRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container was reloaded, after so many `edits` here.
    pub(super) fn reloaded(&self, container: &RemoteContainer, edits: u64, now: Instant) {
        let mut all = self.lock();
        let ends = all.get(&key(container)).map_or(0, |story| story.ends);
        let story = CrashRecord { id: container.id.clone(), reloaded: (now, edits), lived: None, ends };
        all.insert(key(container), story);
    }

    /// It was not reloaded after all.
    pub(super) fn spared(&self, container: &RemoteContainer) {
        self.lock().remove(&key(container));
    }

    /// A container is not followed any more, perhaps because it has ended.
    pub(super) fn ended(&self, container: &RemoteContainer, now: Instant) {
        if let Some(story) = self.lock().get_mut(&key(container)).filter(|story| story.id == container.id) {
            story.end(now);
        }
    }

    /// A container begins, after so many `edits` here: how long its reload rests, when its predecessor has ended soon after
    /// its own and nothing was edited since.
    pub(super) fn begins(
        &self,
        container: &RemoteContainer,
        edits: u64,
        now: Instant,
    ) -> Option<RestingReload> {
        let mut all = self.lock();
        let story = all.get_mut(&key(container)).filter(|story| story.id != container.id)?;
        story.end(now);
        let lived = story.lived.filter(|_| story.ends > 0 && story.reloaded.1 == edits)?;
        let rest = RESTS.0.saturating_mul(1 << (story.ends - 1).min(16)).min(RESTS.1);
        let times = match story.ends {
            1 => String::new(),
            ends => format!(", {ends} times in a row"),
        };
        let why = format!(
            "its container ended {}.{} s after a reload{times}: it runs what its image brings, and is reloaded with the \
             next edit, or in {rest:?}",
            lived.as_secs(),
            lived.subsec_millis() / 100
        );
        Some(RestingReload { until: now + rest, why })
    }
}

impl CrashRecord {
    fn end(&mut self, now: Instant) {
        if self.lived.is_none() {
            let lived = now.duration_since(self.reloaded.0);
            self.lived = Some(lived);
            self.ends = if lived < YOUNG { self.ends + 1 } else { 0 };
        }
    }
}

fn key(container: &RemoteContainer) -> (String, String) {
    (container.pod_uid.clone(), container.name.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::Crashes;
    use crate::targets::RemoteContainer;

    fn container(id: &str) -> RemoteContainer {
        RemoteContainer {
            namespace: "n".into(),
            pod: "p".into(),
            pod_uid: "u".into(),
            name: "c".into(),
            id: id.into(),
            node: "node".into(),
            restart_policy: "Always".into(),
            grace: Duration::ZERO,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_crash_doubles_the_rest_and_an_edit_ends_it() {
        let crashes = Crashes::default();
        assert_eq!(crashes.begins(&container("0"), 5, Instant::now()), None);
        for (n, seconds) in [10, 20, 40, 80, 160, 300, 300].into_iter().enumerate() {
            crashes.reloaded(&container(&n.to_string()), 5, Instant::now());
            advance(Duration::from_millis(700)).await;
            crashes.ended(&container(&n.to_string()), Instant::now());
            // How long kubelet waits counts for nothing.
            advance(Duration::from_secs(100)).await;
            let now = Instant::now();
            let next = container(&(n + 1).to_string());
            let rest = crashes.begins(&next, 5, now).unwrap();
            assert_eq!(rest.until, now + Duration::from_secs(seconds));
            assert!(rest.why.starts_with("its container ended 0.7 s after a reload"), "{}", rest.why);
            assert_eq!(crashes.begins(&next, 5, now), Some(rest), "asked twice");
            assert_eq!(crashes.begins(&next, 6, now), None, "edited");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_life_and_another_pod_are_no_crash() {
        let crashes = Crashes::default();
        crashes.reloaded(&container("0"), 5, Instant::now());
        assert_eq!(crashes.begins(&container("0"), 5, Instant::now()), None, "it is the same container");
        let other = RemoteContainer { pod_uid: "another".into(), ..container("1") };
        assert_eq!(crashes.begins(&other, 5, Instant::now()), None);
        advance(Duration::from_secs(31)).await;
        assert_eq!(crashes.begins(&container("1"), 5, Instant::now()), None);
    }

    /// One that ended without anybody seeing it.
    #[tokio::test(start_paused = true)]
    async fn the_successor_tells_of_the_end() {
        let crashes = Crashes::default();
        crashes.reloaded(&container("0"), 5, Instant::now());
        advance(Duration::from_secs(2)).await;
        assert!(crashes.begins(&container("1"), 5, Instant::now()).is_some());
    }
}
