//! Displaced files: what was replaced or removed, and can't be dropped yet.
//!
//! Invariant: a displaced file is dropped only when it is what was known and nobody can write it any more, or when its owner
//! has it in safety.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ksync_tree::{Displaced, Entry, Error, Root, Verdict, stat_entry};

/// A displaced file whose content is to be brought to safety.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFile {
    /// Number of it here, never used twice.
    pub number: u64,
    /// Path of the place that it was taken from; empty where an earlier run has left it.
    pub path: String,
    /// Path of the file itself.
    pub at: String,
    /// What it is, with its hash.
    pub entry: Entry,
    /// Somebody has written it since it was known: it is not what was to be kept, but newer.
    pub changed: bool,
}

#[derive(Debug)]
struct One {
    displaced: Displaced,
    /// It is to be kept whatever it is.
    keep: bool,
    told: bool,
    /// An earlier run has left it.
    is_leftover: bool,
}

/// All displaced files of a directory.
#[derive(Debug, Default)]
pub(crate) struct Held {
    all: BTreeMap<u64, One>,
    last: u64,
    /// When those that wait are judged next; none where none waits.
    due: Option<Instant>,
}

/// How often files that somebody has open for writing are judged again.
const JUDGE: Duration = Duration::from_millis(200);

impl Held {
    /// Takes a file in, and returns its number.
    pub(crate) fn add(&mut self, displaced: Displaced, keep: bool) -> u64 {
        self.take_in(One { displaced, keep, told: false, is_leftover: false })
    }

    /// Takes one in that an earlier run has left: it is kept, whatever it is.
    pub(crate) fn add_leftover(&mut self, displaced: Displaced) -> u64 {
        self.take_in(One { displaced, keep: true, told: false, is_leftover: true })
    }

    fn take_in(&mut self, one: One) -> u64 {
        self.last += 1;
        self.due = Some(Instant::now());
        self.all.insert(self.last, one);
        self.last
    }

    /// When those that wait are to be judged; none where none waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Judges those that wait. One that nobody needs is dropped; the others are returned, once each.
    pub(crate) fn judge(&mut self, root: &Root) -> Vec<HeldFile> {
        let mut ready = Vec::new();
        let waiting: Vec<u64> =
            self.all.iter().filter(|(_, one)| !one.told).map(|(number, _)| *number).collect();
        for number in waiting {
            let Some(one) = self.all.get_mut(&number) else { continue };
            let judged = one.displaced.judge();
            tracing::trace!(number, at = one.displaced.at(), ?judged, one.keep, "a displaced file");
            match judged {
                Ok(Verdict::Busy) => {}
                Ok(Verdict::Same) if !one.keep => {
                    if let Some(one) = self.all.remove(&number)
                        && let Err(error) = one.displaced.discard()
                    {
                        tracing::warn!(error = ksync_common::chain(&error), "drop a displaced file");
                    }
                }
                Ok(verdict) => match file(root, number, one, verdict) {
                    Ok(Some(file)) => {
                        one.told = true;
                        ready.push(file);
                    }
                    // Gone, by somebody else's hand.
                    Ok(None) => drop(self.all.remove(&number)),
                    Err(error) => {
                        tracing::warn!(error = ksync_common::chain(&error), "read a displaced file");
                    }
                },
                Err(error) => {
                    tracing::warn!(error = ksync_common::chain(&error), "judge a displaced file");
                }
            }
        }
        self.due = self.all.values().any(|one| !one.told).then(|| Instant::now() + JUDGE);
        ready
    }

    /// Files were moved to the root, from where they were.
    pub(crate) fn moved(&mut self, root: &Root, from: &[String]) -> Result<(), Error> {
        for one in self.all.values_mut().filter(|one| from.iter().any(|at| at == one.displaced.at())) {
            one.displaced.moved_to(root)?;
            // Whoever was told of it can't find it there any more.
            one.told = false;
            self.due = Some(Instant::now());
        }
        Ok(())
    }

    /// Whether a file at `at` is one of these.
    pub(crate) fn knows(&self, at: &str) -> bool {
        self.all.values().any(|one| one.displaced.at() == at)
    }

    /// Judges one again, where it is by now; one that is nowhere any more was somebody else's to remove.
    pub(crate) fn judge_again(&mut self, root: &Root, number: u64) {
        let Some(one) = self.all.get_mut(&number) else { return };
        match one.displaced.find(root) {
            Ok(true) => (one.told, self.due) = (false, Some(Instant::now())),
            Ok(false) => drop(self.all.remove(&number)),
            Err(error) => tracing::warn!(error = ksync_common::chain(&error), "find a displaced file"),
        }
    }

    /// It is in safety: it goes.
    pub(crate) fn release(&mut self, number: u64) -> Result<(), Error> {
        self.all.remove(&number).map_or(Ok(()), |one| one.displaced.discard())
    }
}

fn file(root: &Root, number: u64, one: &One, verdict: Verdict) -> Result<Option<HeldFile>, Error> {
    let at = one.displaced.at().to_owned();
    let Some(entry) = stat_entry(root, &at, true)? else { return Ok(None) };
    let changed = verdict == Verdict::Changed;
    let path = if one.is_leftover { String::new() } else { one.displaced.path().to_owned() };
    Ok(Some(HeldFile { number, path, at, entry, changed }))
}
