//! One container's app, reloaded by itself: what is told here goes into the decision, and what it says is done.
//!
//! Invariant: it lives as long as the container is followed, over interruptions: what was edited meanwhile is not
//! forgotten, and is reloaded once, when it is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{
        broadcast::{self, error::RecvError, error::TryRecvError},
        watch,
    },
    time::{Instant, sleep_until},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, info};

use super::{
    Outcome, Policy, Target,
    crashes::RestingReload,
    decision::{Decision, Facts, Next},
};
use crate::{
    local::{LocalFolder, LocalState},
    status::ReloadNote,
    targets::RemoteContainer,
};

/// Whether and where a container is followed, and what is decided.
#[derive(Debug)]
struct State {
    decision: Decision,
    target: Option<Target>,
    held: Option<u64>,
}

impl State {
    /// How things stand. An answer of what it holds may come when it is not followed any more: that counts for nothing, or
    /// it would be reloaded in vain, over and over.
    fn facts(&self, pending: bool, here: u64) -> Facts {
        Facts { pending, here, held: self.held.filter(|_| self.target.is_some()) }
    }
}

/// What handle and worker share.
#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    note: ReloadNote,
    /// Why a reload rests, if it does.
    why: String,
}

/// Reloads one container's app where its spec says so. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Automatic {
    policy: Arc<Policy>,
    /// Whether the container has held what was here: from then on every edit is heard of, and what an attach changes
    /// besides is what containers wrote.
    proved: AtomicBool,
    work: Option<(Arc<Shared>, DropGuard)>,
}

/// The container is followed while this lives.
#[derive(Debug)]
pub(crate) struct Followed(Option<Arc<Shared>>);

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.state.send_modify(|state| (state.target, state.held) = (None, None));
        }
    }
}

impl Automatic {
    /// For a container that begins to be followed.
    pub(crate) fn start(
        policy: &Arc<Policy>,
        container: &RemoteContainer,
        local: &Arc<LocalFolder>,
        note: ReloadNote,
    ) -> Self {
        let idle = Self { policy: Arc::clone(policy), proved: AtomicBool::new(false), work: None };
        if !policy.automatic {
            return idle;
        }
        let rest = policy.crashes.begins(container, local.edits.count(), Instant::now());
        let decision = Decision::resting(rest.as_ref().map(|rest| rest.until));
        let why = rest.map_or_else(String::new, |RestingReload { why, .. }| why);
        let state = watch::Sender::new(State { decision, target: None, held: None });
        let shared = Arc::new(Shared { state, note, why });
        let worker = Worker {
            policy: Arc::clone(policy),
            container: container.clone(),
            edits: local.edits.follow(),
            here: local.state(),
            local: Arc::clone(local),
            shared: Arc::clone(&shared),
        };
        let end = CancellationToken::new();
        tokio::spawn(worker.run(end.clone()).in_current_span());
        Self { work: Some((shared, end.drop_guard())), ..idle }
    }

    /// The first attach has changed the content of these paths in the container.
    pub(crate) fn merged(&self, paths: &[String]) {
        let Some(shared) = self.shared().filter(|_| !self.proved.load(Ordering::Relaxed)) else { return };
        if let Some(first) = paths.iter().find(|path| self.policy.which.counts(path)) {
            info!(first, paths = paths.len(), "the app is to run what the attach has brought");
            shared.change(|state| state.decision.merged(Instant::now()));
        }
    }

    /// The container was found to hold what is here.
    pub(crate) fn proved(&self) {
        self.proved.store(true, Ordering::Relaxed);
    }

    fn shared(&self) -> Option<&Arc<Shared>> {
        self.work.as_ref().map(|(shared, _)| shared)
    }

    /// The container is followed from now on.
    pub(crate) fn follow(&self, target: Target) -> Followed {
        let shared = self.shared().cloned();
        if let Some(shared) = &shared {
            shared.state.send_modify(|state| state.target = Some(target));
        }
        Followed(shared)
    }

    /// It holds everything up to the edit of this number.
    pub(crate) fn holds(&self, edit: u64) {
        if let Some(shared) = self.shared() {
            shared.holds(edit);
        }
    }
}

impl Shared {
    fn holds(&self, edit: u64) {
        self.state.send_if_modified(|state| {
            let news = state.held.is_none_or(|held| held < edit);
            if news {
                state.held = Some(edit);
            }
            news
        });
    }

    /// Changes the state and shows what comes of it before anybody can look.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
        self.show();
    }

    fn show(&self) {
        let now = Instant::now();
        let (due, rests) = {
            let state = self.state.borrow();
            (state.decision.due(now), state.decision.rest(now).is_some())
        };
        self.note.due(due, if rests { &self.why } else { "" });
    }
}

/// The task behind an [`Automatic`].
struct Worker {
    policy: Arc<Policy>,
    container: RemoteContainer,
    local: Arc<LocalFolder>,
    edits: broadcast::Receiver<String>,
    here: watch::Receiver<LocalState>,
    shared: Arc<Shared>,
}

impl Worker {
    async fn run(mut self, end: CancellationToken) {
        let (policy, container) = (Arc::clone(&self.policy), self.container.clone());
        end.run_until_cancelled_owned(async move { self.work().await }).await;
        policy.crashes.ended(&container, Instant::now());
    }

    async fn work(&mut self) {
        let mut state = self.shared.state.subscribe();
        loop {
            state.mark_unchanged();
            let until = match self.next() {
                Next::Reload => {
                    self.reload().await;
                    continue;
                }
                Next::Until(at) => Some(at),
                Next::Rest => None,
            };
            self.shared.show();
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                changed = self.here.changed() => if changed.is_err() { return },
                edit = self.edits.recv() => match edit {
                    Ok(path) => self.edited(Some(&path)),
                    Err(RecvError::Lagged(_)) => self.edited(None),
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
    }

    fn next(&mut self) -> Next {
        let (pending, here) = {
            let here = self.here.borrow_and_update();
            (here.pending, here.edits)
        };
        let mut next = Next::Rest;
        self.shared.state.send_if_modified(|state| {
            let facts = state.facts(pending, here);
            next = state.decision.next(facts, Instant::now());
            false
        });
        next
    }

    /// Something was edited, at `path` where that is known.
    fn edited(&self, path: Option<&str>) {
        if path.is_none_or(|path| self.policy.which.counts(path)) {
            self.shared.change(|state| state.decision.edited(path, Instant::now()));
        }
    }

    /// What has been told of edits by now.
    fn listen(&mut self) {
        loop {
            match self.edits.try_recv() {
                Ok(path) => self.edited(Some(&path)),
                Err(TryRecvError::Lagged(_)) => self.edited(None),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Waits for its turn, and reloads if that is right still.
    async fn reload(&mut self) {
        let policy = Arc::clone(&self.policy);
        let turn = policy.turn().await;
        self.listen();
        let target = self.shared.state.borrow().target.clone();
        let (Next::Reload, Some(target)) = (self.next(), target) else { return };
        policy.crashes.reloaded(&self.container, self.local.edits.count(), Instant::now());
        self.shared.state.send_modify(|state| state.decision.begun(Instant::now()));
        let outcome = target.reload(None, Duration::ZERO).await;
        if !matches!(outcome, Outcome::Reloaded(_)) {
            policy.crashes.spared(&self.container);
        } else if let Some(turn) = turn {
            policy.pass_on(turn, &self.container.id);
        }
        self.shared.change(|state| {
            state.decision.over(Instant::now());
            if let Outcome::Unknown(_) = outcome {
                // Whether it was done can't be told: it is done again when the container is followed again.
                state.decision.merged(Instant::now());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Decision, Next, State};

    #[tokio::test(start_paused = true)]
    async fn what_is_not_followed_is_not_reloaded_whatever_it_holds() {
        let held = 7;
        let mut state = State { decision: Decision::default(), target: None, held: Some(held) };
        let now = tokio::time::Instant::now();
        state.decision.merged(now);
        let facts = state.facts(false, held);
        let later = now + std::time::Duration::from_secs(9);
        assert_eq!(state.decision.next(facts, later), Next::Rest);
    }
}
