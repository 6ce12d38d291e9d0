//! Looks at both sides all the time, and asks `get` all the time; notes every change, and every difference under a claim
//! that there is none.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ksync_judge::{Micros, Seen, Side, Sighting, State, Tree, differences};

use crate::{
    claim::{self, Claim},
    clock,
    place::Place,
    scan::{Scanner, state_of},
    suite::ksync::Ksync,
};

/// Between two looks, at least; and as long as a look took.
const PAUSE: Duration = Duration::from_millis(60);
/// Between two questions at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// So many sightings of one look are noted.
const NOTED: usize = 40;

/// What both sides are like, as it was seen last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) begun: Micros,
    /// Whether `get` said, before it, that all containers are in sync.
    pub(crate) watching: bool,
    /// What differs in any container, and what `get` says.
    pub(crate) shown: String,
    /// Whether here and every container could be read.
    compared: bool,
    /// The paths that differ, of each container that has any.
    differing: Vec<(String, Vec<String>)>,
}

impl Look {
    pub(crate) fn equal(&self) -> bool {
        self.equal_but_for(|_, _| false)
    }

    /// Whether nothing differs but a container's own business, by its id and the path.
    pub(crate) fn equal_but_for(&self, own: impl Fn(&str, &str) -> bool) -> bool {
        let all = |(id, paths): &(String, Vec<String>)| paths.iter().all(|path| own(id, path));
        self.compared && self.differing.iter().all(all)
    }
}

#[derive(Default)]
struct Known {
    places: Vec<Place>,
    /// The pod of each container that ever ran.
    pods: BTreeMap<String, String>,
    alive: BTreeMap<String, Micros>,
    claim: Option<Claim>,
    look: Look,
    trees: BTreeMap<Side, Tree>,
    notes: Notes,
}

/// What a round has to be judged by.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) roles: Vec<(Micros, String)>,
    pub(crate) died: BTreeMap<String, Micros>,
    pub(crate) sightings: Vec<Sighting>,
    pub(crate) seen: Vec<Seen>,
}

/// The observer of one directory and its containers.
pub(crate) struct Observer<'a> {
    ksync: &'a Ksync,
    local: PathBuf,
    known: Mutex<Known>,
    over: AtomicBool,
    /// Nothing is seen of the local directory, which is elsewhere on purpose.
    blind: AtomicBool,
    /// How often a container was compared.
    pub(crate) checks: AtomicU64,
}

/// Ends the observer's threads, whatever happens.
pub(crate) struct End<'a>(pub(crate) &'a Observer<'a>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

/// While it lives, nothing is said of the local directory.
pub(crate) struct Blind<'a>(&'a Observer<'a>);

impl Drop for Blind<'_> {
    fn drop(&mut self) {
        self.0.blind.store(false, Ordering::SeqCst);
    }
}

impl<'a> Observer<'a> {
    pub(crate) fn new(ksync: &'a Ksync, local: &Path) -> Self {
        Self {
            ksync,
            local: local.to_owned(),
            known: Mutex::default(),
            over: AtomicBool::new(false),
            blind: AtomicBool::new(false),
            checks: AtomicU64::new(0),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn blind(&self) -> Blind<'_> {
        self.blind.store(true, Ordering::SeqCst);
        Blind(self)
    }

    pub(crate) fn set_places(&self, places: Vec<Place>) {
        let mut known = self.known();
        known.pods.extend(places.iter().map(|place| (place.id.clone(), place.pod.clone())));
        // Nobody looks any more at those that were replaced, and these have ended, or are about to.
        for old in std::mem::replace(&mut known.places, places) {
            if !known.places.iter().any(|place| place.id == old.id) {
                let alive = known.alive.get(&old.id).copied().unwrap_or_else(clock::now);
                known.notes.died.entry(old.id).or_insert(alive);
            }
        }
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        self.known().places.iter().filter(|place| place.lives()).cloned().collect()
    }

    pub(crate) fn look(&self) -> Look {
        self.known().look.clone()
    }

    /// The container that `get` called two-way last, while it lives.
    pub(crate) fn two_way(&self) -> Option<Place> {
        let known = self.known();
        let (_, id) = known.notes.roles.last()?;
        known.places.iter().find(|place| place.id == *id).filter(|place| place.lives()).cloned()
    }

    /// The pod of each container that ever ran, by its id.
    pub(crate) fn pods(&self) -> BTreeMap<String, String> {
        self.known().pods.clone()
    }

    /// Which container was called two-way when, in this round until now.
    pub(crate) fn roles(&self) -> Vec<(Micros, String)> {
        self.known().notes.roles.clone()
    }

    /// Which container was last seen alive when, of those that ended in this round until now.
    pub(crate) fn died(&self) -> BTreeMap<String, Micros> {
        self.known().notes.died.clone()
    }

    pub(crate) fn healings(&self) -> u64 {
        self.known().claim.as_ref().and_then(|claim| claim.healings).unwrap_or_default()
    }

    /// All notes since the last time, and the roles that were known before.
    pub(crate) fn take(&self) -> Notes {
        let mut known = self.known();
        let last = known.notes.roles.last().cloned();
        let notes = std::mem::take(&mut known.notes);
        known.notes.roles.extend(last);
        notes
    }

    /// Asks, until the observer ends.
    pub(crate) fn ask(&self) {
        while !self.over() {
            let begun = clock::elapsed();
            // Without a watcher, or while it stands still, there is no claim.
            let claim = Claim::ask(self.ksync).ok();
            let mut known = self.known();
            let two_way = claim.as_ref().and_then(|claim| {
                let row = claim.rows.iter().find(|row| row.two_way)?;
                Some((claim.answered, row.id.clone()))
            });
            known.notes.roles.extend(two_way);
            known.claim = claim;
            drop(known);
            // A watcher that stood still is asked again soon: how long it takes to answer is measured.
            thread::sleep(clock::elapsed().saturating_sub(begun).clamp(PAUSE, LONGEST_PAUSE));
        }
    }

    /// Looks, until the observer ends.
    pub(crate) fn watch(&self) {
        let mut here = Scanner::new(self.local.clone());
        let mut there: BTreeMap<String, Scanner> = BTreeMap::new();
        while !self.over() {
            let begun = clock::elapsed();
            self.one_look(&mut here, &mut there);
            thread::sleep(PAUSE.max(clock::elapsed().saturating_sub(begun)));
        }
    }

    fn one_look(&self, here: &mut Scanner, there: &mut BTreeMap<String, Scanner>) {
        let (places, claim) = {
            let known = self.known();
            (known.places.clone(), known.claim.clone())
        };
        let begun = clock::now();
        let claim = claim.filter(|claim| claim.answered + clock::micros(claim::FRESH) > begun);
        let blind = self.blind.load(Ordering::SeqCst);
        // What went away under the look was not seen.
        let sees = || !self.blind.load(Ordering::SeqCst);
        let local = if blind { None } else { here.scan().ok().filter(|_| sees()) };
        if let Some(local) = &local {
            self.note(Side::Local, local);
        }
        let ids: Vec<String> = places.iter().map(|place| place.id.clone()).collect();
        let mut look = Look {
            begun,
            watching: claim.as_ref().is_some_and(|claim| claim.is_of(&ids)),
            shown: String::new(),
            compared: local.is_some() && !places.is_empty(),
            differing: Vec::new(),
        };
        there.retain(|id, _| ids.contains(id));
        for place in &places {
            let at = clock::now();
            let scanner = there.entry(place.id.clone()).or_insert_with(|| Scanner::new(place.root()));
            let tree = scanner.scan().ok().filter(|_| place.lives());
            self.lives(place, tree.is_some(), at);
            let (Some(tree), Some(local)) = (tree, &local) else {
                look.compared = false;
                look.shown.extend([&place.pod, " has ended; "]);
                continue;
            };
            self.note(Side::Container(place.id.clone()), &tree);
            self.checks.fetch_add(1, Ordering::Relaxed);
            let paths = differences(local, &tree);
            if let Some(first) = paths.first() {
                let count = paths.len().to_string();
                look.shown.extend([&place.pod, ": ", &count, " differ, first `", first, "`; "]);
            }
            if let Some(claim) = &claim {
                self.confirm(claim, place, &paths);
            }
            if !paths.is_empty() {
                look.differing.push((place.id.clone(), paths));
            }
        }
        look.shown += &claim.map_or_else(|| "`get` does not answer".to_owned(), |claim| claim.shown);
        // What was looked at while it went away says nothing.
        if blind == self.blind.load(Ordering::SeqCst) {
            self.known().look = look;
        }
    }

    fn lives(&self, place: &Place, lives: bool, at: Micros) {
        let mut known = self.known();
        if lives {
            known.alive.insert(place.id.clone(), at);
        } else if !place.lives() {
            let alive = known.alive.get(&place.id).copied().unwrap_or(at);
            known.notes.died.entry(place.id.clone()).or_insert(alive);
            known.trees.remove(&Side::Container(place.id.clone()));
        }
    }

    /// A difference that is still there when both sides are read once more is noted under the claim.
    fn confirm(&self, claim: &Claim, place: &Place, paths: &[String]) {
        let Some(row) = claim.rows.iter().find(|row| row.id == place.id && row.watching) else { return };
        for path in paths.iter().take(NOTED) {
            let (Ok(local), Ok(there)) =
                (state_of(&self.local.join(path)), state_of(&place.root().join(path)))
            else {
                continue;
            };
            let blind = self.blind.load(Ordering::SeqCst);
            if local != there && place.lives() && !blind {
                self.known().notes.sightings.push(Sighting {
                    as_of: row.as_of,
                    seen: clock::now(),
                    container: place.id.clone(),
                    path: path.clone(),
                    local,
                    there,
                });
            }
        }
    }

    fn note(&self, side: Side, tree: &Tree) {
        let mut known = self.known();
        let at = clock::now();
        let before = known.trees.insert(side.clone(), tree.clone()).unwrap_or_default();
        let absent = &State::Absent;
        let paths = before.keys().chain(tree.keys().filter(|path| !before.contains_key(*path)));
        for path in paths {
            let now = tree.get(path).unwrap_or(absent);
            if before.get(path).unwrap_or(absent) != now {
                let (side, path, state) = (side.clone(), path.clone(), now.clone());
                known.notes.seen.push(Seen { at, side, path, state });
            }
        }
    }
}
