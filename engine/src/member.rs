//! One attached container, as the engine holds it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use ksync_endpoint::HeldFile;
use ksync_merge::{Container, Digest, Holds, Op, Outcome, Policy, Side, State, Terms};
use ksync_tree::{Kind, covers, is_below};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    command::{Attach, Edits},
    far::{Far, FromFar, ToFar},
    gate::{self, Gate},
    listing::{Listing, Told, TooMuch},
    marks::SideMarks,
    progress::Progress,
    rests::Rests,
    safekeeping::Safekeeping,
    state::{Failure, LastEdit, MemberState, State as EngineState},
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
    pub(crate) terms: Terms,
    pub(crate) excluded: Vec<String>,
    pub(crate) brought: Edits,
    /// Edits here that it may not hold yet, the oldest first, each with when it was told.
    pub(crate) edits: VecDeque<(u64, Arc<str>, Instant)>,
    /// It was in sync since it was attached.
    pub(crate) was_settled: bool,
    /// What was told so far of a listing that is not complete.
    pub(crate) listing: Option<Listing>,
    /// How much is remembered of it since it was listed.
    pub(crate) told: Told,
    /// Its displaced files.
    pub(crate) held: Safekeeping,
    /// Those of them that are too large to be kept unasked, by number: they stay in the container.
    pub(crate) parked: BTreeMap<u64, HeldFile>,
    /// Marks that were sent there.
    pub(crate) marks: SideMarks,
    pub(crate) gate: Gate,
    /// Its deletions that were applied here.
    pub(crate) deleted: gate::Applied,
    pub(crate) failures: BTreeMap<String, Failure>,
    /// How long what has failed rests before it is tried again.
    pub(crate) rests: Rests,
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
        let Attach { number, far, from, two_way, terms, excluded, brought, .. } = attach;
        let attached = Self {
            far,
            large: Arc::new(Semaphore::new(LARGE)),
            generation,
            policy,
            terms,
            excluded,
            brought,
            edits: VecDeque::new(),
            was_settled: false,
            listing: Some(Listing::default()),
            told: Told::default(),
            held: Safekeeping::default(),
            parked: BTreeMap::new(),
            marks: SideMarks::default(),
            gate: Gate::Idle,
            deleted: gate::Applied::default(),
            failures: BTreeMap::new(),
            rests: Rests::default(),
            skipped: BTreeMap::new(),
            in_flight: 0,
            ended: false,
            state: MemberState { number, two_way, ..MemberState::default() },
        };
        (attached, from)
    }

    /// Nothing is told from there any more.
    pub(crate) fn end(&mut self) {
        (self.ended, self.marks, self.state.as_of) = (true, SideMarks::default(), None);
    }

    /// Asks for its sum with the mark of this number, which began then; of what is not listed or has ended there is none.
    pub(crate) fn mark(&mut self, number: u64, begun: Instant) {
        if self.listing.is_none() && !self.ended && self.marks.ask(number, begun) {
            self.far.send(ToFar::Mark(number));
        }
    }

    /// Its sum, as of the mark of this number; beside it the sum as it is `known`, and whether nothing is to be done.
    pub(crate) fn marked(&mut self, number: u64, sum: Digest, known: Option<(Digest, bool)>) {
        let Some((begun, next)) = self.marks.answered(number) else { return };
        if let Some(next) = next {
            self.far.send(ToFar::Mark(next));
        }
        if self.in_flight > 0 || self.listing.is_some() {
            return;
        }
        let Some((known, is_settled)) = known else { return };
        if known != sum {
            tracing::warn!(
                attachment = self.state.number,
                "what is known there is not what there is: it is told anew"
            );
            (self.listing, self.state.as_of) = (Some(Listing::default()), None);
            self.far.send(ToFar::List);
        } else if is_settled {
            self.state.as_of = Some(begun);
        }
    }

    /// At a path stands `is` now, and `was` stood there by what is known since it was listed. Nothing more of it is believed
    /// where that is too much.
    pub(crate) fn hear(&mut self, path: &Arc<str>, was: Option<State>, is: &State) -> Result<(), TooMuch> {
        let heard = match &mut self.listing {
            Some(listing) => listing.hear(path, is),
            None => self.told.changes(path, &was.flatten(), is),
        };
        heard.inspect_err(|why| {
            self.state.refused = Some(why.to_string());
            self.end();
        })
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

    /// What came of an operation; where it has failed, why.
    pub(crate) fn over(&mut self, op: &Op, outcome: &Outcome, error: Option<String>) {
        if matches!(outcome, Outcome::Failed) {
            let failure = Failure { side: op.side, reason: error.unwrap_or_default() };
            self.rests.failed(&op.path, &failure.reason, Instant::now());
            self.failures.insert(op.path.to_string(), failure);
            return;
        }
        self.failures.remove(&*op.path);
        self.rests.went_well(&op.path);
        if matches!(outcome, Outcome::Done(None)) {
            self.rests.eased();
        }
    }

    /// What stands at a path is news, on either side. Something that is gone may make room, and a directory may have other
    /// permissions.
    pub(crate) fn heard(&mut self, state: &State) {
        if state.as_ref().is_none_or(|entry| entry.kind == Kind::Dir) {
            self.rests.eased();
        }
    }

    /// The first path at which nothing can be decided because it, or something about it, can't be looked at.
    fn unread(&self, container: &Container, here: &BTreeMap<String, String>) -> Option<(Arc<str>, Failure)> {
        let skipped = [(Side::Here, here), (Side::There, &self.skipped)];
        let of = |path: &Arc<str>| {
            skipped.iter().find_map(|(side, all)| {
                let concerns = |unread: &str| covers(unread, path) || is_below(path, unread);
                let (unread, reason) = all.iter().find(|(unread, _)| concerns(unread))?;
                Some((Arc::from(unread.as_str()), Failure { side: *side, reason: reason.clone() }))
            })
        };
        if skipped.iter().all(|(_, all)| all.is_empty()) {
            None
        } else {
            container.waiting().iter().find_map(of)
        }
    }

    /// Takes over how far its container is, beside the engine's `here`. While the local side is written (it does not rest), no
    /// container is in sync: it will lack what is written. Returns whether it has come to be in sync.
    pub(crate) fn follow(&mut self, container: &Container, here: &EngineState, rests_here: bool) -> bool {
        let unread = self.unread(container, &here.skipped);
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
        self.failures.retain(|path, _| container.waiting().contains(path.as_str()));
        if *self.state.failures != self.failures {
            self.state.failures = Arc::new(self.failures.clone());
        }
        let state = &mut self.state;
        state.settled = settled;
        (state.behind, state.unread) = (container.behind(), unread);
        state.holds = self.edits.front().map_or(here.edits, |(number, ..)| number - 1);
        if settled {
            self.rests = Rests::default();
            state.progress = Progress::default();
        }
        fresh
    }
}
