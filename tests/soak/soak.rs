//! The run: rounds until the time is over, in one world as long as both sides become equal, then in a new one.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use clap::Parser;
use ksync_judge::{Fault, Next, Plan, Violation};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    clock, evidence,
    faults::{self, Full, Kind},
    interrupt,
    observer::{self, Observer},
    options::Options,
    round::{Outcome, Stage, Strike},
    suite::{Sandbox, case::Need, process, run::Run, steps::words},
    totals::Totals,
    unguarded::Unguarded,
    world::{Shape, World},
    writers::Gates,
};

/// Worlds that may not come to be, one after another.
const WORLDS: usize = 3;
/// Both sides of a new world are equal.
const FIRST: Duration = Duration::from_secs(60);

struct Soak {
    options: Options,
    guards_off: &'static str,
    faults: Vec<(Fault, Kind)>,
    plan: Plan,
    /// What was drawn and needs another world.
    pending: Option<Next>,
    totals: Totals,
    evidence: PathBuf,
}

pub(crate) fn main() -> ExitCode {
    let options = Options::parse();
    let faults = match faults::chosen(&options.faults) {
        Ok(faults) => faults,
        Err(said) => return refuse(&said),
    };
    let plain: Vec<Fault> = faults.iter().map(|(fault, _)| *fault).collect();
    let least = ksync_judge::shortest(&plain);
    if !options.short && Duration::from_secs(options.seconds.into()) < least {
        return refuse(&format!(
            "{} s are too short for {} faults, which take {} s; --short runs some of them",
            options.seconds,
            plain.len(),
            least.as_secs()
        ));
    }
    if !options.guards_off.is_empty() && !cfg!(feature = "test-guards") {
        return refuse("guards can be switched off with the feature `test-guards` alone");
    }
    interrupt::listen();
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("{at}: {}", words(info.payload()));
    }));
    let run: &'static Run = Box::leak(Box::new(Run::begin()));
    if let Some(why) = run.cluster.lacks(Need::Runtimes) {
        return refuse(why);
    }
    let guards_off: &'static str = Box::leak(options.guards_off.clone().into_boxed_str());
    let unguarded =
        (!guards_off.is_empty()).then(|| Unguarded::begin(run.cluster.kubectl(), guards_off)).transpose();
    let unguarded = match unguarded {
        Ok(unguarded) => unguarded,
        Err(said) => return refuse(&said),
    };
    let mut soak = Soak {
        guards_off,
        plan: Plan::new(options.seed, &plain, options.seconds),
        evidence: evidence::dir(options.seed),
        totals: Totals::default(),
        pending: None,
        faults,
        options,
    };
    println!("soak: seed {}, {} s", soak.options.seed, soak.options.seconds);
    soak.worlds(run);
    drop(unguarded);
    let (report, mut good) = soak.totals.verdict(&soak.plan, soak.short());
    print!("{report}");
    if interrupt::wanted() {
        println!("error: interrupted");
        good = false;
    }
    if let Err(left) = run.end() {
        println!("error: something was left behind: {left}");
        good = false;
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refuse(said: &str) -> ExitCode {
    eprintln!("error: {said}");
    ExitCode::FAILURE
}

impl Soak {
    fn short(&self) -> bool {
        self.options.short || !self.options.faults.is_empty()
    }

    /// Where much goes wrong, faults get twice the time to have their turn.
    fn over(&self) -> bool {
        let time = Duration::from_secs(self.options.seconds.into());
        let late = clock::elapsed() > time && (self.plan.singles_done() || self.short());
        interrupt::wanted() || late || clock::elapsed() > 2 * time
    }

    fn worlds(&mut self, run: &'static Run) {
        let (mut number, mut failed) = (0, 0);
        // What takes the cluster up is not the run's time.
        clock::begin();
        while !self.over() && failed < WORLDS {
            let seed = self.options.seed.wrapping_mul(1_000_003).wrapping_add(number);
            number += 1;
            let before = self.totals.rounds;
            let lived = catch_unwind(AssertUnwindSafe(|| {
                let sandbox = Sandbox::new(run, "soak", run.nodes.clone(), Arc::default());
                self.world(&sandbox, seed)
            }));
            let said = match lived {
                Ok(Ok(())) => None,
                Ok(Err(said)) => Some(said),
                Err(why) => Some(words(&*why).to_owned()),
            };
            failed = if self.totals.rounds > before { 0 } else { failed + 1 };
            if let Some(said) = said.filter(|_| !interrupt::wanted()) {
                println!("world {number}: {said}");
                self.totals.others.push(format!("world {number}: {said}"));
            }
        }
    }

    /// Rounds until one leaves both sides different.
    fn world(&mut self, sandbox: &Sandbox, seed: u64) -> Result<(), String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let volume = self.needs_volume() || rng.random_range(0..3) > 0;
        let shape = if volume { Shape::Volume } else { Shape::Image };
        let world = World::begin(sandbox, shape, self.guards_off, &mut rng)?;
        // Another run that was killed may have left one standing still.
        for part in world.radars()? {
            let pid = part.pid(sandbox.cluster())?;
            for process in
                std::iter::once(pid).chain(process::children(pid).into_iter().map(|child| child.pid))
            {
                process::stand_still(process, false);
            }
        }
        let places = world.places()?;
        let now = clock::elapsed().as_secs_f64();
        println!("{now:6.0} s world: files in {shape:?}, containers {}", World::spread(&places));
        let (observer, gates) = (Observer::new(&world.ksync, &world.local), Gates::default());
        observer.set_places(places);
        let stage = Stage {
            world: &world,
            observer: &observer,
            gates: &gates,
            left: RefCell::default(),
            theirs: RefCell::default(),
        };
        let lived = thread::scope(|scope| {
            let _end = observer::End(&observer);
            scope.spawn(|| observer.ask());
            scope.spawn(|| observer.watch());
            stage.settled(clock::now(), FIRST)?;
            self.rounds(&stage);
            Ok(())
        });
        self.totals.checks += observer.checks.load(Ordering::Relaxed);
        self.totals.healings += observer.healings();
        let (log, ways) = (world.ksync.log(), ["a large file went ", "a large file came "]);
        self.totals.spooled += ways.iter().map(|way| log.matches(way).count()).sum::<usize>();
        lived
    }

    fn needs_volume(&self) -> bool {
        let full = |fault: usize| self.faults[fault].1 == Kind::Full(Full::Volume);
        match self.pending {
            Some(Next::Single(fault)) => full(fault),
            Some(Next::Pair(a, b)) => full(a) || full(b),
            Some(Next::Calm) | None => false,
        }
    }

    fn rounds(&mut self, stage: &Stage<'_>) {
        while !self.over() {
            let next = self.pending.take().unwrap_or_else(|| self.plan.draw());
            self.pending = Some(next.clone());
            if self.needs_volume() && stage.world.shape != Shape::Volume {
                return;
            }
            self.pending = None;
            if !self.round(stage, &next) {
                return;
            }
        }
        let violations = stage.delete();
        if !violations.is_empty() && !interrupt::wanted() {
            self.tell(stage, "the end", &violations);
            self.totals.others.push("the end was not clean".to_owned());
        }
    }

    /// Whether another may follow.
    fn round(&mut self, stage: &Stage<'_>, next: &Next) -> bool {
        let (pair, chosen) = match *next {
            Next::Calm => (false, vec![]),
            Next::Single(fault) => (false, vec![fault]),
            Next::Pair(a, b) => (true, vec![a, b]),
        };
        let mut strikes: Vec<Strike> = chosen
            .iter()
            .map(|fault| Strike { kind: self.faults[*fault].1, length: self.plan.length(*fault, pair) })
            .collect();
        // The others need it to be broken.
        strikes.sort_by_key(|strike| strike.kind == Kind::ApiServer);
        let names: Vec<&str> = chosen.iter().map(|fault| self.faults[*fault].0.name).collect();
        let names = if names.is_empty() { "calm".to_owned() } else { names.join(" + ") };
        let number = self.totals.rounds + 1;
        let seed = self.options.seed.wrapping_mul(10_007).wrapping_add(number as u64);
        let outcome = stage.round(&strikes, seed);
        if interrupt::wanted() {
            return false;
        }
        if outcome.struck.len() == strikes.len() {
            self.plan.fired(next);
        }
        self.totals.add(&names, &outcome);
        say(number, &names, &outcome);
        self.tell(stage, &names, &outcome.violations);
        outcome.sound
    }

    fn tell(&self, stage: &Stage<'_>, names: &str, violations: &[Violation]) {
        if violations.is_empty() {
            return;
        }
        let round = self.totals.rounds;
        let kept: &Path = &evidence::keep(stage.world, &self.evidence, round, violations);
        println!("not clean: seed {}, round {round}, {names}; logs in {}", self.options.seed, kept.display());
        for violation in violations {
            println!("  {}", violation.to_string().replace('\n', "\n  "));
        }
    }
}

fn say(number: usize, names: &str, outcome: &Outcome) {
    let healed =
        outcome.healed.map_or_else(String::new, |time| format!(", equal after {:.1} s", time.as_secs_f64()));
    let struck =
        if outcome.struck.is_empty() { String::new() } else { format!(" ({})", outcome.struck.join("; ")) };
    println!(
        "{:6.0} s round {number}: {names}{struck}, {} deeds{healed}",
        clock::elapsed().as_secs_f64(),
        outcome.deeds
    );
    for said in &outcome.unstruck {
        println!("  did not strike: {said}");
    }
}
