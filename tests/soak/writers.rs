//! The writers of a round: one here, one in the container that is two-way, who now and then writes into another one too.

use std::{
    fs,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use ksync_judge::{OWN, Side};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    deeds::Writer,
    hand::{self, Hand, Journal},
    observer::Observer,
    place::Place,
    world::World,
};

/// What may be deleted or moved in a round, of about a hundred files: far from what counts as a mass deletion.
const REMOVALS_HERE: usize = 30;
const REMOVALS_THERE: usize = 16;
const NOBODY: Duration = Duration::from_millis(50);
/// In one of so many rounds, containers have compiled files beside their sources.
const COMPILED: u64 = 4;
/// In one of so many, the container writes without a rest, and nothing but a few words over what is there.
const STEADY: u64 = 3;
const TICK: Duration = Duration::from_millis(50);
/// In one of so many, the container writes what was just written here, before or while the news of that comes there.
const CONTESTED: u64 = 4;

/// Closed while a side can't be written to. A deed that has begun is ended first.
#[derive(Default)]
pub(crate) struct Gates {
    local: Mutex<()>,
    there: Mutex<()>,
}

impl Gates {
    pub(crate) fn local(&self) -> MutexGuard<'_, ()> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn there(&self) -> MutexGuard<'_, ()> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What both writers of a round share.
pub(crate) struct Writers<'a> {
    pub(crate) world: &'a World<'a>,
    pub(crate) observer: &'a Observer<'a>,
    pub(crate) gates: &'a Gates,
    pub(crate) journal: &'a Journal,
    /// Drawn for this round.
    pub(crate) seed: u64,
    /// What was written here, and is to be written in the container at once.
    pub(crate) contested: Mutex<Option<String>>,
    pub(crate) over: AtomicBool,
}

/// Ends the writers, whatever happens.
pub(crate) struct End<'a>(pub(crate) &'a Writers<'a>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

impl<'a> Writers<'a> {
    fn over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// A programmer works in fits and starts.
    fn rest(rng: &mut StdRng) {
        let longest = if rng.random_range(0..4) == 0 { 400 } else { 60 };
        thread::sleep(Duration::from_millis(rng.random_range(5..longest)));
    }

    fn contested(&self) -> MutexGuard<'_, Option<String>> {
        self.contested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_contested(&self) -> bool {
        self.seed % CONTESTED == 1
    }

    /// Writes in a container what is written here within a short rest.
    fn contest(&self, rng: &mut StdRng, writer: &mut Writer<'_>) {
        for _ in 0..rng.random_range(5..60) {
            let path = self.contested().take();
            if let Some(path) = path {
                return self.count(writer.contest(&path));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn writer(&self, hand: Hand<'a>, stream: u64, removals: usize) -> Writer<'a> {
        let rng = StdRng::seed_from_u64(self.seed.wrapping_mul(2).wrapping_add(stream));
        Writer { hand, rng, round: self.seed, removals, large: 1 }
    }

    fn hand(&self, place: &Place) -> Hand<'a> {
        Hand { root: place.root(), side: Side::Container(place.id.clone()), journal: self.journal }
    }

    fn count(&self, done: std::io::Result<()>) {
        if done.is_err() {
            self.journal.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The one here.
    pub(crate) fn here(&self) {
        let hand = Hand { root: self.world.local.clone(), side: Side::Local, journal: self.journal };
        let mut writer = self.writer(hand, 0, REMOVALS_HERE);
        while !self.over() {
            let gate = self.gates.local();
            let done = if self.is_contested() && writer.rng.random_range(0..3) == 0 {
                writer.shared().map(|path| *self.contested() = Some(path))
            } else {
                writer.deed()
            };
            drop(gate);
            self.count(done);
            Self::rest(&mut writer.rng);
        }
    }

    /// The one in the container whose changes come here, whichever that is at the time.
    pub(crate) fn there(&self) {
        let mut writer: Option<Writer<'_>> = None;
        let mut rng = StdRng::seed_from_u64(self.seed);
        while !self.over() {
            let Some(place) = self.observer.two_way() else {
                thread::sleep(NOBODY);
                continue;
            };
            let gate = self.gates.there();
            let side = Side::Container(place.id.clone());
            let writer = match &mut writer {
                Some(writer) => {
                    if writer.hand.side != side {
                        writer.hand = self.hand(&place);
                    }
                    writer
                }
                None => writer.insert(self.writer(self.hand(&place), 1, REMOVALS_THERE)),
            };
            let steady = self.seed.is_multiple_of(STEADY);
            self.count(if steady { writer.tick() } else { writer.deed() });
            if rng.random_range(0..12) == 0 {
                self.elsewhere(&mut rng);
            }
            if steady {
                drop(gate);
                thread::sleep(TICK);
            } else if self.is_contested() {
                self.contest(&mut rng, writer);
                drop(gate);
            } else {
                drop(gate);
                Self::rest(&mut rng);
            }
        }
    }

    /// In some container, a file of its own; or what a compiler leaves beside its sources, which is not synced.
    fn elsewhere(&self, rng: &mut StdRng) {
        let places = self.observer.places();
        let Some(place) = places.get(rng.random_range(0..places.len().max(1))) else { return };
        if self.seed.is_multiple_of(COMPILED) {
            let dir = place.root().join(format!("dir{}/__pycache__", rng.random_range(0..12)));
            // Its directory may have been moved or removed.
            let _ =
                fs::create_dir(&dir).and_then(|()| fs::write(dir.join("file.cpython-313.pyc"), "compiled"));
        }
        let side = Side::Container(place.id.clone());
        let name = format!("{OWN}{}.txt", rng.random_range(0..1_000_000));
        let bytes = hand::content(&side, 200);
        let done = self.hand(place).overwrite(&name, &bytes);
        self.count(done);
    }
}
