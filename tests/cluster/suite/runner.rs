//! Runs the cases: a few side by side, those that disturb the cluster alone, and says at the end how long each
//! took, which were skipped and, last of all, why each that failed did.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::ExitCode,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Trial};

use super::{Case, Sandbox, run::Run};

/// Most of a case is waiting for kubelet.
const THREADS: usize = 4;

static RUN: OnceLock<Run> = OnceLock::new();
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());
static FAILED: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Where this thread panicked in this case, and what it said.
    static PANICKED: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
}

/// Runs what the command line selects.
pub(crate) fn main(rooms: &[(&'static str, &'static [Case])]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let mut cases: Vec<(String, Case)> = Vec::new();
    for (room, list) in rooms {
        cases.extend(list.iter().map(|case| (format!("{room}::{}", case.name), *case)));
    }
    if arguments.list {
        let trials = cases.into_iter().map(|(name, _)| Trial::test(name, || Ok(()))).collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    say_where_it_panicked();
    let run = RUN.get_or_init(Run::begin);
    let lacking = |case: &Case| case.needs.iter().find_map(|need| run.cluster.lacks(*need));
    let skipped: Vec<(String, &str)> =
        cases.iter().filter_map(|(name, case)| Some((name.clone(), lacking(case)?))).collect();
    let trials = |alone: bool| -> Vec<Trial> {
        let chosen = cases.iter().filter(|(_, case)| case.alone == alone);
        let trial = |(name, case): &(String, Case)| {
            let (name, case, skip) = (name.clone(), *case, lacking(case).is_some());
            let trial = Trial::test(name.clone(), move || {
                trial(run, &name, case);
                Ok(())
            });
            trial.with_ignored_flag(skip)
        };
        chosen.map(trial).collect()
    };
    let beside = libtest_mimic::run(&arguments, trials(false));
    arguments.test_threads = Some(1);
    let alone = libtest_mimic::run(&arguments, trials(true));
    report(&skipped);
    if let Err(left) = run.end() {
        eprintln!("error: the suite left something behind: {left}");
        return ExitCode::FAILURE;
    }
    if beside.has_failed() { beside.exit_code() } else { alone.exit_code() }
}

/// The message comes with the verdict, and a backtrace through the runner tells nothing.
fn say_where_it_panicked() {
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let why = super::steps::words(info.payload());
        eprintln!("{at}: {why}");
        PANICKED.with_borrow_mut(|all| all.push((at, why.to_owned())));
    }));
}

fn trial(run: &'static Run, name: &str, case: Case) {
    let begun = Instant::now();
    PANICKED.take();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let sandbox = Sandbox::new(run, name);
        (case.run)(&sandbox);
    }));
    if let Err(payload) = outcome {
        let why = super::steps::words(&*payload);
        let at = PANICKED.take().into_iter().find(|(_, said)| said == why).unwrap_or_default().0;
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name}: {at}: {why}"));
        resume_unwind(payload);
    }
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push((begun.elapsed(), name.to_owned()));
}

fn report(skipped: &[(String, &str)]) {
    let mut times = std::mem::take(&mut *TIMES.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort_by(|a, b| b.cmp(a));
    for (time, name) in times {
        println!("{:6.1} s  {name}", time.as_secs_f64());
    }
    for (name, why) in skipped {
        println!("SKIPPED: {name}: {why}");
    }
    println!("{} skipped", skipped.len());
    for failed in FAILED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("FAILED: {failed}");
    }
}
