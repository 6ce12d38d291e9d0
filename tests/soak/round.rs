//! One round: both sides are written to, something breaks and is mended, and when it answers again, all must be well.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use ksync_judge::{
    Content, End, Kind as Wrong, Micros, Round, Side, Tree, Violation, at_odds, is_loose, judge,
    written_there,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    clock,
    faults::Kind,
    hand::Journal,
    interrupt::{pass, wait, wanted},
    kept,
    observer::{Look, Observer},
    place::Place,
    scan::Scanner,
    strike::{Scene, Struck},
    world::World,
    writers::{self, Gates, Writers},
};

/// Both sides are equal within this time after what was broken answers again.
pub(crate) const HEALED: Duration = Duration::from_secs(15);
/// So long it is waited to tell what is late from what never comes.
const GIVEN_UP: Duration = Duration::from_secs(20);
/// What is equal must stay so.
const REST: Duration = Duration::from_secs(1);
/// A container that was added for the test's own sake.
const SETTLED: Duration = Duration::from_secs(60);

/// A fault that is to strike, and how long it lasts.
pub(crate) struct Strike {
    pub(crate) kind: Kind,
    pub(crate) length: Duration,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<Violation>,
    /// What exactly was broken.
    pub(crate) struck: Vec<String>,
    /// What could not be broken, and why.
    pub(crate) unstruck: Vec<String>,
    /// On which nodes.
    pub(crate) nodes: BTreeSet<String>,
    /// From the answer of what was broken until all was well.
    pub(crate) healed: Option<Duration>,
    /// Whether both sides are equal at its end, so that another round may follow.
    pub(crate) sound: bool,
    pub(crate) deeds: usize,
    pub(crate) refused: u64,
}

/// The scene of all rounds in one world.
pub(crate) struct Stage<'a> {
    pub(crate) world: &'a World<'a>,
    pub(crate) observer: &'a Observer<'a>,
    pub(crate) gates: &'a Gates,
    /// Temporary files that were told of already.
    pub(crate) left: RefCell<BTreeSet<String>>,
    /// What containers wrote in earlier rounds.
    pub(crate) theirs: RefCell<BTreeSet<Content>>,
}

impl Stage<'_> {
    /// Waits until both sides are equal and `get` says so, from `since` on; when that was.
    pub(crate) fn settled(&self, since: Micros, limit: Duration) -> Result<Micros, String> {
        self.settled_but_for(since, limit, Look::equal)
    }

    fn settled_but_for(
        &self,
        since: Micros,
        limit: Duration,
        mut equal: impl FnMut(&Look) -> bool,
    ) -> Result<Micros, String> {
        wait("both sides to be equal, and `watching`", limit, || {
            let look = self.observer.look();
            let settled = look.begun >= since && look.watching && equal(&look);
            if settled { Ok(look.begun) } else { Err(look.shown) }
        })
    }

    /// What every container has and what is here, read anew; an error while they differ.
    fn base(&self) -> Result<Tree, String> {
        Scanner::new(self.world.local.clone())
            .afresh()
            .map_err(|error| format!("read the local tree: {error}"))
    }

    pub(crate) fn round(&self, strikes: &[Strike], seed: u64) -> Outcome {
        let mut rng = StdRng::seed_from_u64(seed);
        let journal = Journal::default();
        let mut outcome = Outcome::default();
        let start = clock::now();
        self.observer.take();
        let kept_before: BTreeSet<_> =
            kept::all(&self.world.ksync.home).into_iter().map(|(place, _)| place).collect();
        let mut round = match self.base() {
            Ok(base) => Round { base, ..Round::default() },
            Err(said) => {
                outcome.violations.push(Violation::of(Wrong::Bed, said));
                return outcome;
            }
        };
        let writers = Writers {
            world: self.world,
            observer: self.observer,
            gates: self.gates,
            journal: &journal,
            seed,
            contested: Mutex::default(),
            over: AtomicBool::new(false),
        };
        thread::scope(|scope| {
            let end = writers::End(&writers);
            scope.spawn(|| writers.here());
            scope.spawn(|| writers.there());
            pass(Duration::from_millis(rng.random_range(800..2000)));
            round.fault = (!strikes.is_empty()).then(clock::now);
            self.break_and_mend(strikes, &mut rng, &mut outcome);
            pass(Duration::from_millis(rng.random_range(300..1200)));
            drop(end);
        });
        outcome.refused = journal.refused.load(Ordering::Relaxed);
        if let Err(said) = self.answers() {
            if !wanted() {
                outcome.violations.push(Violation::of(Wrong::Bed, said));
            }
            return outcome;
        }
        round.ops = journal.take();
        outcome.deeds = round.ops.len();
        round.pods = self.observer.pods();
        self.heal(&mut round, &mut outcome);
        if wanted() {
            return outcome;
        }
        pass(REST);
        let notes = self.observer.take();
        (round.roles, round.died, round.sightings, round.seen) =
            (notes.roles, notes.died, notes.sightings, notes.seen);
        match self.end(&kept_before) {
            Ok(end) => round.end = end,
            Err(said) => outcome.violations.push(Violation::of(Wrong::Bed, said)),
        }
        round.left.clone_from(&self.left.borrow());
        round.theirs.clone_from(&self.theirs.borrow());
        self.theirs.borrow_mut().extend(written_there(&round));
        let violations = judge(&round, start);
        let left = violations.iter().filter(|violation| violation.kind == Wrong::Leftover);
        self.left.borrow_mut().extend(left.flat_map(|violation| violation.paths.clone()));
        outcome.violations.extend(violations);
        // What containers have of their own is to be gone before the next round, which trusts both sides.
        let containers = round.end.containers.keys();
        let unsure: BTreeSet<String> = containers.filter(|id| at_odds(&round, id)).cloned().collect();
        let unsound = [Wrong::Unequal, Wrong::Status, Wrong::Bed];
        outcome.sound = outcome.healed.is_some()
            && !outcome.violations.iter().any(|violation| unsound.contains(&violation.kind));
        if outcome.sound
            && let Err(said) = self.tidy(&unsure)
            && !wanted()
        {
            let words = format!("after the round, pods were replaced: {said}");
            outcome.violations.push(Violation::of(Wrong::Status, words));
            outcome.sound = false;
        }
        outcome
    }

    fn break_and_mend(&self, strikes: &[Strike], rng: &mut StdRng, outcome: &mut Outcome) {
        let scene = Scene { world: self.world, observer: self.observer, gates: self.gates };
        let mut struck: Vec<(u8, Struck<'_>)> = Vec::new();
        for strike in strikes {
            if !struck.is_empty() {
                pass(Duration::from_millis(rng.random_range(0..1500)));
            }
            match scene.strike(strike.kind, rng) {
                Ok(one) => {
                    outcome.struck.push(one.what.clone());
                    outcome.nodes.extend(one.node.clone());
                    struck.push((strike.kind.mended(), one));
                }
                Err(said) if strike.kind == Kind::StopAndStart => {
                    outcome.violations.push(Violation::of(Wrong::Hung, format!("stop: {said}")));
                }
                // Of a pair, the first may have left nothing for the second.
                Err(said) => outcome.unstruck.push(format!("{:?}: {said}", strike.kind)),
            }
        }
        let longest = strikes.iter().map(|strike| strike.length).max().unwrap_or_default();
        let until = clock::elapsed() + longest;
        while clock::elapsed() < until && !wanted() {
            pass(until.saturating_sub(clock::elapsed()).min(Duration::from_secs(1)));
            self.find_others();
        }
        struck.sort_by_key(|(mended, _)| *mended);
        while let Some((_, next)) = struck.pop() {
            let what = next.what.clone();
            if let Err(violation) = next.end() {
                let words = format!("when {what} was mended: {}", violation.words);
                outcome.violations.push(Violation::of(violation.kind, words));
            }
        }
    }

    /// Containers that came in the place of others are looked at as soon as they run.
    fn find_others(&self) {
        if self.observer.places().len() < self.world.replicas
            && let Ok(places) = self.world.try_places()
        {
            self.observer.set_places(places);
        }
    }

    /// Waits until the cluster is as it was: its API server, radar, the pods.
    fn answers(&self) -> Result<(), String> {
        let ready = ["get", "--raw", "/readyz", "--request-timeout=5s"];
        wait("the API server", HEALED, || self.world.sandbox.kubectl().try_ok(&ready).map(drop))?;
        self.observer.set_places(self.world.places()?);
        self.world.radars().map(drop)
    }

    /// What is a container's own business by what is known of the round may differ.
    fn heal(&self, round: &mut Round, outcome: &mut Outcome) {
        let ready = clock::now();
        let time = |at: Micros| Duration::from_micros(at.saturating_sub(ready));
        let mut equal = |look: &Look| {
            (round.roles, round.died) = (self.observer.roles(), self.observer.died());
            look.equal_but_for(|id, path| is_loose(round, id, path))
        };
        match self.settled_but_for(ready, GIVEN_UP, &mut equal) {
            Ok(at) if time(at) <= HEALED => outcome.healed = Some(time(at)),
            Ok(at) => {
                outcome.healed = Some(time(at));
                outcome.violations.push(Violation::of(
                    Wrong::Slow,
                    format!("equal {:.1} s after everything answered", time(at).as_secs_f64()),
                ));
            }
            Err(said) if equal(&self.observer.look()) => {
                outcome.violations.push(Violation::of(Wrong::Status, said));
            }
            Err(said) => outcome.violations.push(Violation::of(Wrong::Unequal, said)),
        }
    }

    fn end(&self, kept_before: &BTreeSet<std::path::PathBuf>) -> Result<End, String> {
        let local = self.base()?;
        let mut containers = BTreeMap::new();
        for place in self.observer.places() {
            let tree = Scanner::new(place.root()).afresh();
            containers
                .insert(place.id.clone(), tree.map_err(|error| format!("read {}: {error}", place.pod))?);
        }
        Ok(End { local, containers, kept: kept::since(&self.world.ksync.home, kept_before) })
    }

    /// Replaces containers that have changes of their own, and those that kubelet would soon let wait.
    fn tidy(&self, unsure: &BTreeSet<String>) -> Result<(), String> {
        let places: Vec<Place> = self.observer.places();
        for place in places.iter().filter(|place| unsure.contains(&place.id)) {
            self.world.delete_pod(&self.world.sandbox.namespace, &place.pod, true)?;
        }
        if self.world.renew()? || !unsure.is_empty() {
            self.answers()?;
            self.settled(clock::now(), SETTLED)?;
        }
        Ok(())
    }

    /// What is left when the sync has ended.
    pub(crate) fn delete(&self) -> Vec<Violation> {
        let left = |tree: &Tree, side: &Side, extra: &str| -> Vec<String> {
            let name = |path: &&String| {
                path.rsplit('/').next().is_some_and(|name| name == extra || ksync_judge::is_leftover(name))
            };
            tree.keys().filter(name).map(|path| format!("{side} `{path}`")).collect()
        };
        let looked = self.world.delete().and_then(|()| self.end(&BTreeSet::new()));
        match looked {
            Ok(end) => {
                let mut all = left(&end.local, &Side::Local, ".stignore");
                for (id, tree) in &end.containers {
                    all.extend(left(tree, &Side::Container(id.clone()), ".stignore"));
                }
                let words = || format!("after `delete`: {}", all.join(", "));
                if all.is_empty() { vec![] } else { vec![Violation::of(Wrong::Leftover, words())] }
            }
            Err(said) => vec![Violation::of(Wrong::Hung, said)],
        }
    }
}
