//! One attached container, as the engine holds it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use ksync_merge::{Container, Holds, Policy, State};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    command::{Attach, Edits},
    far::{Far, FromFar},
    gate::Gate,
    progress::Progress,
    safekeeping::Safekeeping,
    state::{Failure, LastEdit, MemberState},
};

/// Contents that are on their way to or from one container in pieces at once.
const LARGE: usize = 4;

/// An attached container.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) far: Arc<dyn Far>,
    /// Permits for contents that go there or come from there in pieces.
    pub(crate) large: Arc<Semaphore>,
    /// Tells it from earlier attachments of the same name.
    pub(crate) generation: u64,
    pub(crate) policy: Policy,
    pub(crate) excluded: Vec<String>,
    pub(crate) brought: Edits,
    /// Edits here that it may not hold yet, the oldest first, each with when it was told.
    pub(crate) edits: VecDeque<(u64, Arc<str>, Instant)>,
    /// It was in sync since it was attached.
    pub(crate) was_settled: bool,
    /// What was told so far of a listing that is not complete.
    pub(crate) listing: Option<BTreeMap<Arc<str>, State>>,
    /// Its displaced files.
    pub(crate) held: Safekeeping,
    /// When a mark was sent that has not come back.
    pub(crate) marked: Option<(u64, Instant)>,
    pub(crate) gate: Gate,
    pub(crate) failures: BTreeMap<String, Failure>,
    /// What can't be looked at there.
    pub(crate) skipped: BTreeMap<String, String>,
    pub(crate) in_flight: usize,
    /// The way there has ended: what was told before that is done here still.
    pub(crate) ended: bool,
    pub(crate) state: MemberState,
}

impl Attached {
    /// What its engine was told of it; `generation` is never used twice.
    pub(crate) fn new(attach: Attach, generation: u64, policy: Policy) -> (Self, mpsc::Receiver<FromFar>) {
        let Attach { number, far, from, two_way, excluded, brought, .. } = attach;
        let attached = Self {
            far,
            large: Arc::new(Semaphore::new(LARGE)),
            generation,
            policy,
            excluded,
            brought,
            edits: VecDeque::new(),
            was_settled: false,
            listing: Some(BTreeMap::new()),
            held: Safekeeping::default(),
            marked: None,
            gate: Gate::Idle,
            failures: BTreeMap::new(),
            skipped: BTreeMap::new(),
            in_flight: 0,
            ended: false,
            state: MemberState { number, two_way, ..MemberState::default() },
        };
        (attached, from)
    }

    /// Nothing is told from there any more.
    pub(crate) fn end(&mut self) {
        (self.ended, self.marked, self.state.as_of) = (true, None, None);
    }

    /// What is not done now.
    pub(crate) fn holds(&self) -> Holds {
        Holds {
            all_there: self.ended,
            removals_here: !self.gate.is_open(),
            removals_there: self.state.questions.gone_here.is_some(),
            pulls: self.state.questions.first_pull.is_some(),
        }
    }

    /// Takes over how far its container is, with so many edits here. While the local side is written (it does not rest), no
    /// container is in sync: it will lack what is written. Returns whether it has come to be in sync.
    pub(crate) fn follow(&mut self, container: &Container, edits: u64, rests_here: bool) -> bool {
        let listed = self.state.listed;
        let settled = listed && !self.ended && rests_here && container.is_settled() && self.in_flight == 0;
        let fresh = settled && !self.state.settled;
        self.was_settled |= settled;
        while let Some((_, path, told)) = self.edits.front()
            && listed
            && container.is_done(path)
        {
            self.state.last_edit = Some(LastEdit::told(*told));
            self.edits.pop_front();
        }
        self.failures.retain(|path, _| container.is_waiting(path));
        if *self.state.failures != self.failures {
            self.state.failures = Arc::new(self.failures.clone());
        }
        let state = &mut self.state;
        state.settled = settled;
        state.behind = container.behind();
        state.holds = self.edits.front().map_or(edits, |(number, ..)| number - 1);
        if settled {
            state.progress = Progress::default();
        }
        fresh
    }
}
