//! Who has proved when that he may exec into which container.
//!
//! Invariant: a proof is of one person and of one life of a container, and ends after a while, however it is used.

use std::{collections::HashMap, time::Duration};

use ksync_keys::Fingerprint;
use tokio::time::Instant;

use crate::container::{attachment::Attachment, power::Credential, runtime::ContainerId};

/// How long a proof is good.
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(600);

/// One life of a container: it may be started again under its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    /// Which container.
    pub(crate) container: ContainerId,
    /// When its init was started, in the kernel's ticks since its boot.
    pub(crate) started: u64,
}

impl Life {
    /// Of the container that an attachment is in.
    pub(crate) fn of(attachment: &Attachment) -> Self {
        Self { container: attachment.claim.container.clone(), started: attachment.life.started }
    }
}

/// All that are good.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    proved: HashMap<(Fingerprint, ContainerId), Proved>,
    last: u64,
}

#[derive(Debug)]
struct Proved {
    started: u64,
    number: u64,
    until: Instant,
    exec: Credential,
}

/// A proof that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Good {
    /// How long it is.
    pub(crate) rest: Duration,
    /// What an exec into the container may do.
    pub(crate) exec: Credential,
}

impl Proofs {
    /// A person has proved it, `now`, by an exec with this power. Returns the proof's number, under which it ends.
    pub(super) fn add(&mut self, person: Fingerprint, life: Life, exec: Credential, now: Instant) -> u64 {
        self.last += 1;
        let proved = Proved { started: life.started, number: self.last, until: now + GOOD_FOR, exec };
        self.proved.insert((person, life.container), proved);
        self.last
    }

    /// A person's proof that is good at `now`; none where there is none.
    pub(super) fn good(&self, person: Fingerprint, life: &Life, now: Instant) -> Option<Good> {
        let proved = self.proved.get(&(person, life.container.clone()))?;
        let rest = proved.until.saturating_duration_since(now);
        let is_good = proved.started == life.started && !rest.is_zero();
        is_good.then(|| Good { rest, exec: proved.exec.clone() })
    }

    /// The proof of this number is over; whether it was still the one that counts.
    pub(super) fn end(&mut self, person: Fingerprint, container: &ContainerId, number: u64) -> bool {
        let key = (person, container.clone());
        let is_it = self.proved.get(&key).is_some_and(|proved| proved.number == number);
        is_it && self.proved.remove(&key).is_some()
    }

    /// A person's session is over.
    pub(super) fn forget(&mut self, person: Fingerprint) {
        self.proved.retain(|(of, _), _| *of != person);
    }

    /// How many a person has.
    pub(super) fn of(&self, person: Fingerprint) -> usize {
        self.proved.keys().filter(|(of, _)| *of == person).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::runtime::Scheme;

    fn life(id: &str, started: u64) -> Life {
        Life { container: ContainerId { scheme: Scheme::Docker, id: id.to_owned() }, started }
    }

    #[test]
    fn it_is_of_one_person_and_one_life_and_ends() {
        let (me, other) = (Fingerprint::of(b"s"), Fingerprint::of(b"t"));
        let (mut proofs, now) = (Proofs::default(), Instant::now());
        let exec = || Credential { uid: 7, ..Credential::default() };
        let good = |rest| Some(Good { rest, exec: exec() });
        let number = proofs.add(me, life("a", 7), exec(), now);
        assert_eq!(proofs.good(me, &life("a", 7), now), good(GOOD_FOR));
        assert_eq!(proofs.good(other, &life("a", 7), now), None, "given to somebody else");
        assert_eq!(proofs.good(me, &life("b", 7), now), None, "another container");
        assert_eq!(proofs.good(me, &life("a", 8), now), None, "started again");
        assert_eq!(proofs.good(me, &life("a", 7), now + GOOD_FOR), None, "too old");
        // Proved anew, it outlives the end of the first.
        let later = now + GOOD_FOR / 2;
        let renewed = proofs.add(me, life("a", 7), exec(), later);
        assert!(!proofs.end(me, &life("a", 7).container, number));
        assert_eq!(proofs.good(me, &life("a", 7), later), good(GOOD_FOR));
        assert!(proofs.end(me, &life("a", 7).container, renewed));
        assert_eq!(proofs.good(me, &life("a", 7), later), None);
        proofs.add(me, life("a", 7), exec(), now);
        proofs.add(other, life("a", 7), exec(), now);
        proofs.forget(me);
        assert_eq!((proofs.of(me), proofs.of(other)), (0, 1));
    }
}
