//! Which specs run, and which are on their way out.
//!
//! Nothing waits for a spec that ends, except what takes its place: a spec of its name, or of its local path. Those
//! begin when it has let go of everything.

use std::{collections::BTreeMap, future::Future};

use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, Span, info, warn};

use super::belongs::Belongs;
use crate::config::SpecDetails;

/// A spec as the file has it, and what becomes of it here.
pub(super) type Wanted = (SpecDetails, Belongs);

struct RunningSpec {
    details: SpecDetails,
    belongs: Belongs,
    end: CancellationToken,
    /// Cancelled when the spec has let go of everything, however it ended.
    ended: CancellationToken,
}

/// The specs at work.
#[derive(Default)]
pub(super) struct RunningSpecs {
    live: BTreeMap<String, RunningSpec>,
    leaving: Vec<RunningSpec>,
}

impl RunningSpecs {
    /// The names of what runs.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.live.keys().map(String::as_str)
    }

    /// Ends what is not wanted as it is, and begins what is wanted and does not run. What is not wanted at all stays
    /// where `keep` says so.
    pub(super) fn apply<W: Future<Output = ()> + Send + 'static>(
        &mut self,
        wanted: Vec<Wanted>,
        keep: impl Fn(&str) -> bool,
        work: impl Fn(SpecDetails, Belongs, CancellationToken) -> W,
    ) {
        let wanted: BTreeMap<String, Wanted> =
            wanted.into_iter().map(|(details, belongs)| (details.name.clone(), (details, belongs))).collect();
        let gone: Vec<String> = self
            .live
            .iter()
            .filter(|(name, spec)| match wanted.get(name.as_str()) {
                Some(wanted) => !spec.is(wanted),
                None => !keep(name),
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(spec) = self.live.remove(&name) {
                info!(name, "spec ends");
                spec.end.cancel();
                self.leaving.push(spec);
            }
        }
        self.leaving.retain(|spec| !spec.ended.is_cancelled());
        for (name, (details, belongs)) in wanted {
            if !self.live.contains_key(&name) {
                let end = CancellationToken::new();
                let work = work(details.clone(), belongs.clone(), end.clone());
                self.live.insert(name, self.begin(details, belongs, end, work));
            }
        }
    }

    fn begin(
        &self,
        details: SpecDetails,
        belongs: Belongs,
        end: CancellationToken,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> RunningSpec {
        let before: Vec<CancellationToken> = self
            .leaving
            .iter()
            .filter(|left| left.details.name == details.name || left.details.localpath == details.localpath)
            .map(|left| left.ended.clone())
            .collect();
        let ended = CancellationToken::new();
        let (name, stop, guard) = (details.name.clone(), end.clone(), ended.clone().drop_guard());
        let task = async move {
            let _guard: DropGuard = guard;
            for before in before {
                before.cancelled().await;
            }
            if stop.is_cancelled() {
                return;
            }
            info!(name, "spec begins");
            if let Err(error) = tokio::spawn(work.instrument(Span::current())).await {
                warn!(name, %error, "a spec did not end in order");
            }
        };
        tokio::spawn(task.instrument(Span::current()));
        RunningSpec { details, belongs, end, ended }
    }

    /// Ends all and waits until they have let go.
    pub(super) async fn close(mut self) {
        for spec in self.live.values() {
            spec.end.cancel();
        }
        for spec in self.live.into_values().chain(self.leaving.drain(..)) {
            spec.ended.cancelled().await;
        }
    }
}

impl RunningSpec {
    fn is(&self, (details, belongs): &Wanted) -> bool {
        // Where nobody can tell any more whose it is, what was told before holds.
        *details == self.details && (*belongs == self.belongs || matches!(belongs, Belongs::Unknown(_)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use tokio_util::sync::CancellationToken;

    use super::{Belongs, RunningSpecs, SpecDetails, Wanted};

    /// Specs that take a second to let go, and what became of them.
    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<Vec<String>>>);

    impl Slow {
        fn apply(&self, running: &mut RunningSpecs, wanted: &[(&str, &str)]) {
            let wanted = wanted.iter().map(|(name, local)| wanted_of(name, local, Belongs::Here)).collect();
            running.apply(wanted, |_| false, |details, _, end| self.clone().work(details, end));
        }

        async fn work(self, details: SpecDetails, end: CancellationToken) {
            let say = |what: &str| self.0.lock().unwrap().push(format!("{} {what}", details.name));
            say("begins");
            end.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            say("ended");
        }

        async fn told(&self, after_ms: u64) -> Vec<String> {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    fn wanted_of(name: &str, local: &str, belongs: Belongs) -> Wanted {
        let details = SpecDetails { name: name.into(), localpath: local.into(), ..SpecDetails::default() };
        (details, belongs)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_takes_its_place_waits_for_a_spec_that_ends() {
        let (slow, mut running) = (Slow::default(), RunningSpecs::default());
        slow.apply(&mut running, &[("edited", "/1"), ("left", "/2"), ("stays", "/3")]);
        assert_eq!(slow.told(10).await, ["edited begins", "left begins", "stays begins"]);
        slow.apply(&mut running, &[("edited", "/11"), ("new", "/4"), ("renamed", "/2"), ("stays", "/3")]);
        assert_eq!(slow.told(10).await, ["new begins"]);
        let mut told = slow.told(2000).await;
        assert!(
            told.iter().position(|t| t == "edited ended") < told.iter().position(|t| t == "edited begins")
        );
        assert!(
            told.iter().position(|t| t == "left ended") < told.iter().position(|t| t == "renamed begins")
        );
        told.sort();
        assert_eq!(told, ["edited begins", "edited ended", "left ended", "renamed begins"]);
        running.close().await;
        assert_eq!(slow.told(0).await.len(), 4, "all ended, none began");
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_edits_in_a_row_only_the_last_begins() {
        let (slow, mut running) = (Slow::default(), RunningSpecs::default());
        slow.apply(&mut running, &[("a", "/1")]);
        slow.told(10).await;
        for local in ["/2", "/3", "/4"] {
            slow.apply(&mut running, &[("a", local)]);
        }
        assert_eq!(slow.told(3000).await, ["a ended", "a begins"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_spec_that_panics_is_over_and_one_of_unknown_cluster_goes_on() {
        let mut running = RunningSpecs::default();
        let dies = |_, _, _| async { panic!("a defect") };
        running.apply(vec![wanted_of("a", "/1", Belongs::Here)], |_| false, dies);
        running.apply(Vec::new(), |_| false, dies);
        running.close().await;

        let (slow, mut running) = (Slow::default(), RunningSpecs::default());
        slow.apply(&mut running, &[("a", "/1")]);
        slow.told(10).await;
        let unknown = wanted_of("a", "/1", Belongs::Unknown("no pin".into()));
        running.apply(vec![unknown], |_| false, |details, _, end| slow.clone().work(details, end));
        running.apply(Vec::new(), |name| name == "a", |details, _, end| slow.clone().work(details, end));
        assert_eq!(slow.told(2000).await, Vec::<String>::new());
    }
}
