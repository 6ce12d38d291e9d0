//! Places of something that a node has so many of, of all people together: connections, proofs that are under way.
//!
//! Invariant: who has nothing attached keeps nobody out, however many connections and keys that takes, and whether these are
//! proved or not: where all places are taken, the oldest such one goes.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ksync_keys::Fingerprint;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Taken {
    /// None while the key is not proved.
    person: Option<Fingerprint>,
    lost: CancellationToken,
}

#[derive(Debug, Default)]
struct All {
    /// The oldest first.
    taken: BTreeMap<u64, Taken>,
    last: u64,
}

/// All places.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    limit: usize,
    all: Arc<Mutex<All>>,
}

impl Places {
    /// As many as `limit`.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, all: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place: one that nobody has, or where all are taken, one as [`Self::take`] has it; `at_work` is asked only then.
    pub(crate) async fn find(&self, at_work: impl Future<Output = HashSet<Fingerprint>>) -> Option<Place> {
        match self.take_free() {
            Some(place) => Some(place),
            None => self.take(&at_work.await),
        }
    }

    /// A place that nobody has.
    fn take_free(&self) -> Option<Place> {
        let mut all = self.lock();
        (all.taken.len() < self.limit).then(|| self.give(&mut all))
    }

    /// A place; where all are taken, the oldest that is of none of the people `at_work`. None where there is no such place.
    fn take(&self, at_work: &HashSet<Fingerprint>) -> Option<Place> {
        let mut all = self.lock();
        if all.taken.len() >= self.limit {
            let is_idle = |taken: &Taken| taken.person.is_none_or(|person| !at_work.contains(&person));
            let oldest = all.taken.iter().find(|(_, taken)| is_idle(taken)).map(|(number, _)| *number)?;
            all.taken.remove(&oldest)?.lost.cancel();
        }
        Some(self.give(&mut all))
    }

    fn give(&self, all: &mut All) -> Place {
        all.last += 1;
        let (number, lost) = (all.last, CancellationToken::new());
        all.taken.insert(number, Taken { person: None, lost: lost.clone() });
        Place { places: self.clone(), number, lost }
    }
}

/// A place, which is free when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    number: u64,
    /// Cancelled when somebody else has it.
    pub(crate) lost: CancellationToken,
}

impl Place {
    /// Whose it is is known.
    pub(crate) fn is_of(&self, person: Fingerprint) {
        if let Some(taken) = self.places.lock().taken.get_mut(&self.number) {
            taken.person = Some(person);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_those_with_nothing_attached_goes() {
        let places = Places::new(3);
        let people = [b"a", b"b"].map(|name| Fingerprint::of(name));
        let at_work = HashSet::from([people[0]]);
        let [busy, idle, silent] = [(); 3].map(|()| places.take_free().unwrap());
        busy.is_of(people[0]);
        idle.is_of(people[1]);
        assert!(places.take_free().is_none() && !busy.lost.is_cancelled());
        let _one = places.take(&at_work).unwrap();
        assert!(idle.lost.is_cancelled() && !silent.lost.is_cancelled());
        let two = places.take(&at_work).unwrap();
        assert!(silent.lost.is_cancelled() && !busy.lost.is_cancelled());
        // What was lost is free already.
        drop((idle, silent));
        assert!(places.take_free().is_none());
        drop(two);
        let _three = places.take_free().unwrap();
        let _four = places.take(&HashSet::new()).unwrap();
        assert!(busy.lost.is_cancelled(), "whoever works no more is one of them");
    }

    #[test]
    fn who_works_is_not_sent_away() {
        let places = Places::new(1);
        let person = Fingerprint::of(b"a");
        let place = places.take_free().unwrap();
        place.is_of(person);
        assert!(places.take(&HashSet::from([person])).is_none() && !place.lost.is_cancelled());
    }
}
