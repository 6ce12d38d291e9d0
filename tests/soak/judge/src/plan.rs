//! Which faults come when, and how long each lasts: each of them once, in an order drawn by the seed, then pairs.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// A fault lasts so long at least, where it lasts longer at its full length.
const SHORT: f64 = 5.0;
/// The part of a run's time in which something is broken.
const BROKEN: f64 = 0.3;
/// What a round takes beside its fault: writing, healing, reading everything. Seconds.
const ROUND: f64 = 7.0;
/// Each so many rounds, one is calm.
const CALM: usize = 12;
/// No fault of a pair lasts longer.
const OF_A_PAIR: Duration = Duration::from_secs(10);

/// A fault, as the plan sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Its name, which no other has.
    pub name: &'static str,
    /// What is broken; two of one target do not go together.
    pub target: &'static str,
    /// Its full length in seconds.
    pub seconds: u32,
}

/// What the next round is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// No fault.
    Calm,
    /// One, by its place in the list.
    Single(usize),
    /// Two, the first of which strikes first.
    Pair(usize, usize),
}

/// What is still to come.
#[derive(Debug)]
pub struct Plan {
    rng: StdRng,
    faults: Vec<Fault>,
    lengths: Vec<Duration>,
    singles: Vec<usize>,
    rounds: usize,
    fired: BTreeSet<usize>,
    pairs: BTreeSet<(usize, usize)>,
}

impl Plan {
    /// For a run of so many seconds.
    pub fn new(seed: u64, faults: &[Fault], seconds: u32) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut singles: Vec<usize> = (0..faults.len()).collect();
        singles.shuffle(&mut rng);
        let lengths = lengths(faults, seconds);
        let (rounds, fired, pairs) = (0, BTreeSet::new(), BTreeSet::new());
        Self { rng, faults: faults.to_vec(), lengths, singles, rounds, fired, pairs }
    }

    /// Whether each fault has had its turn by itself.
    pub fn singles_done(&self) -> bool {
        self.singles.is_empty()
    }

    /// What comes next.
    pub fn draw(&mut self) -> Next {
        self.rounds += 1;
        if self.rounds % CALM == 1 || self.faults.is_empty() {
            return Next::Calm;
        }
        if let Some(single) = self.singles.pop() {
            return Next::Single(single);
        }
        // A pair that was not there yet, if chance finds one.
        let mut drawn = None;
        for _ in 0..100 {
            let (a, b) = (self.any(), self.any());
            if self.faults[a].target == self.faults[b].target {
                continue;
            }
            drawn = Some((a, b));
            if !self.pairs.contains(&(a.min(b), a.max(b))) {
                break;
            }
        }
        drawn.map_or(Next::Calm, |(a, b)| Next::Pair(a, b))
    }

    fn any(&mut self) -> usize {
        self.rng.random_range(0..self.faults.len())
    }

    /// How long a fault lasts, alone or in a pair.
    pub fn length(&self, fault: usize, pair: bool) -> Duration {
        if pair { self.lengths[fault].min(OF_A_PAIR) } else { self.lengths[fault] }
    }

    /// Notes that it came to pass.
    pub fn fired(&mut self, next: &Next) {
        match *next {
            Next::Calm => {}
            Next::Single(fault) => drop(self.fired.insert(fault)),
            Next::Pair(a, b) => {
                self.fired.extend([a, b]);
                self.pairs.insert((a.min(b), a.max(b)));
            }
        }
    }

    /// The names of faults that never struck.
    pub fn unfired(&self) -> Vec<&'static str> {
        let unfired = |place: &usize| !self.fired.contains(place);
        (0..self.faults.len()).filter(unfired).map(|place| self.faults[place].name).collect()
    }

    /// How many different faults struck, and how many different pairs.
    pub fn covered(&self) -> (usize, usize) {
        (self.fired.len(), self.pairs.len())
    }
}

/// How long each fault lasts in a run of so many seconds: what is longer than five seconds is shortened as much as the
/// run asks for, never below five.
pub fn lengths(faults: &[Fault], seconds: u32) -> Vec<Duration> {
    let full = |fault: &Fault| f64::from(fault.seconds);
    let short: f64 = faults.iter().map(|fault| full(fault).min(SHORT)).sum();
    let rest: f64 = faults.iter().map(|fault| (full(fault) - SHORT).max(0.0)).sum();
    let factor = ((BROKEN * f64::from(seconds) - short) / rest.max(1.0)).clamp(0.0, 1.0);
    let length = |fault: &Fault| full(fault).min(SHORT) + (full(fault) - SHORT).max(0.0) * factor;
    faults.iter().map(|fault| Duration::from_secs_f64(length(fault))).collect()
}

/// The time that each of them once takes at least.
pub fn shortest(faults: &[Fault]) -> Duration {
    let broken: Duration = lengths(faults, 0).iter().sum();
    broken
        + Duration::from_secs_f64(ROUND).mul_f64(f64::from(u32::try_from(faults.len()).unwrap_or(u32::MAX)))
}

/// The 50th and 95th percentile and the greatest of some times (nearest rank); nothing of none.
pub fn figures(times: &[Duration]) -> Option<[Duration; 3]> {
    let mut sorted = times.to_vec();
    sorted.sort();
    let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied();
    Some([rank(50)?, rank(95)?, sorted.last().copied()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults() -> Vec<Fault> {
        let names = ["kill a", "stop a", "stop b", "away"];
        let targets = ["a", "a", "b", "c"];
        let seconds = [0, 60, 20, 5];
        (0..4).map(|at| Fault { name: names[at], target: targets[at], seconds: seconds[at] }).collect()
    }

    #[test]
    fn each_fault_once_and_then_pairs_of_different_targets() {
        let mut plan = Plan::new(1, &faults(), 600);
        let mut singles = BTreeSet::new();
        assert_eq!(plan.draw(), Next::Calm);
        while !plan.singles_done() {
            let next = plan.draw();
            let Next::Single(fault) = next else { panic!("{next:?}") };
            plan.fired(&next);
            singles.insert(fault);
        }
        assert_eq!(singles.len(), 4);
        assert!(plan.unfired().is_empty());
        for _ in 0..30 {
            let next = plan.draw();
            plan.fired(&next);
            if let Next::Pair(a, b) = next {
                assert_ne!(faults()[a].target, faults()[b].target);
            }
        }
        assert_eq!(plan.covered(), (4, 5), "all pairs that there can be");
    }

    #[test]
    fn without_faults_all_rounds_are_calm() {
        let mut plan = Plan::new(1, &[], 600);
        assert!((0..30).all(|_| plan.draw() == Next::Calm));
    }

    #[test]
    fn the_same_seed_gives_the_same_rounds() {
        let drawn = |seed| -> Vec<Next> {
            let mut plan = Plan::new(seed, &faults(), 600);
            (0..20).map(|_| plan.draw()).collect()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn what_did_not_strike_is_named() {
        let mut plan = Plan::new(1, &faults(), 600);
        plan.fired(&Next::Pair(0, 2));
        assert_eq!(plan.unfired(), ["stop a", "away"]);
    }

    #[test]
    fn long_faults_are_shortened_as_the_run_asks() {
        let secs =
            |seconds| -> Vec<u64> { lengths(&faults(), seconds).iter().map(Duration::as_secs).collect() };
        assert_eq!(secs(10_000), [0, 60, 20, 5]);
        assert_eq!(secs(0), [0, 5, 5, 5]);
        assert_eq!(secs(150), [0, 28, 11, 5]);
        assert_eq!(shortest(&faults()), Duration::from_secs(15 + 28));
    }

    #[test]
    fn percentiles() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(figures(&times), Some([50, 95, 100].map(Duration::from_millis)));
        assert_eq!(figures(&times[..1]), Some([1, 1, 1].map(Duration::from_millis)));
        assert_eq!(figures(&[]), None);
    }
}
