//! Which specs take their directories over from others: asked for by a person, good for a while, and never again by
//! itself, or two laptops would take a directory from each other for ever.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::watch, time::Instant};

/// How long a request is good: the spec may have to find its containers first.
const GOOD_FOR: Duration = Duration::from_secs(30);

/// The requests of one watcher.
#[derive(Debug, Clone, Default)]
pub(crate) struct TakeOver(watch::Sender<BTreeMap<String, Instant>>);

/// One spec's view of them.
#[derive(Debug, Clone)]
pub(crate) struct SpecTakeOver {
    spec: String,
    requests: watch::Receiver<BTreeMap<String, Instant>>,
    /// The one that was followed.
    spent: Option<Instant>,
}

impl TakeOver {
    /// A person has asked for it. server --requests--> folders.
    pub(crate) fn ask(&self, spec: String) {
        self.0.send_modify(|requests| {
            requests.insert(spec, Instant::now());
        });
    }

    /// What is asked of a spec.
    pub(crate) fn of(&self, spec: &str) -> SpecTakeOver {
        SpecTakeOver { spec: spec.to_owned(), requests: self.0.subscribe(), spent: None }
    }
}

impl SpecTakeOver {
    /// Whether the directory is to be taken over now.
    pub(super) fn now(&self) -> bool {
        self.request().is_some_and(|asked| asked.elapsed() < GOOD_FOR && self.spent != Some(asked))
    }

    /// The directory is ours: what was asked for is done, and who takes it over from us next keeps it.
    pub(super) fn spend(&mut self) {
        self.spent = self.request();
    }

    fn request(&self) -> Option<Instant> {
        self.requests.borrow().get(&self.spec).copied()
    }

    /// Waits for a new request.
    pub(super) async fn news(&mut self) {
        let was = self.request();
        let is_new = |requests: &BTreeMap<String, Instant>| requests.get(&self.spec).copied() != was;
        if self.requests.wait_for(is_new).await.is_err() {
            // Nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::advance;

    use super::{GOOD_FOR, TakeOver};

    #[tokio::test(start_paused = true)]
    async fn a_request_wakes_its_spec_and_is_good_for_a_while() {
        let take_over = TakeOver::default();
        let (mut a, b) = (take_over.of("a"), take_over.of("b"));
        assert!(!a.now() && a.news().now_or_never().is_none());
        let mut waiting = a.clone();
        let woken = tokio::spawn(async move { waiting.news().await });
        tokio::task::yield_now().await;
        take_over.ask("a".to_owned());
        woken.await.unwrap();
        assert!(a.now() && !b.now());
        let mut done = a.clone();
        done.spend();
        assert!(!done.now(), "once is enough");
        take_over.ask("a".to_owned());
        advance(GOOD_FOR / 2).await;
        take_over.ask("a".to_owned());
        assert!(done.now(), "asked anew");
        advance(GOOD_FOR).await;
        assert!(!a.now());
    }
}
