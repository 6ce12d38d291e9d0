//! Runs the cases: a few side by side, those that disturb the cluster alone, and says at the end how long each
//! took, on which runtimes it ran, which were skipped and, last of all, why each that failed did.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::ExitCode,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Trial};

use super::{
    Case, Sandbox,
    case::Runs,
    nodes::{Node, runtimes},
    run::Run,
    table::{Seen, Table},
};

/// Most of a case is waiting for kubelet.
const THREADS: usize = 4;

static RUN: OnceLock<Run> = OnceLock::new();
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());
static TABLE: Mutex<Table> = Mutex::new(Table::new());
static FAILED: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Where this thread panicked in this case, and what it said.
    static PANICKED: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
}

/// A case on the nodes that it is to run on.
#[derive(Clone)]
struct Planned {
    /// The case's, with its runtime where there is one trial for each.
    name: String,
    /// Where the case stands among all.
    number: usize,
    case_name: String,
    case: Case,
    nodes: Vec<Node>,
    lacks: Option<&'static str>,
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
    let mut planned = plan(run, &cases);
    // Several filters, which the harness does not know.
    if let Some(several) = arguments.filter.take_if(|filter| filter.contains(',')) {
        planned.retain(|planned| several.split(',').any(|filter| planned.name.contains(filter)));
    }
    let trials = |alone: bool| -> Vec<Trial> {
        let chosen = planned.iter().filter(|planned| planned.case.alone == alone);
        let trial = |planned: &Planned| {
            let planned = planned.clone();
            let skip = planned.lacks.is_some();
            let trial = Trial::test(planned.name.clone(), move || {
                trial(run, &planned);
                Ok(())
            });
            trial.with_ignored_flag(skip)
        };
        chosen.map(trial).collect()
    };
    let beside = libtest_mimic::run(&arguments, trials(false));
    arguments.test_threads = Some(1);
    let alone = libtest_mimic::run(&arguments, trials(true));
    report(run, &planned);
    if let Err(left) = run.end() {
        eprintln!("error: the suite left something behind: {left}");
        return ExitCode::FAILURE;
    }
    if beside.has_failed() { beside.exit_code() } else { alone.exit_code() }
}

/// What runs where.
fn plan(run: &Run, cases: &[(String, Case)]) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (number, (case_name, case)) in cases.iter().enumerate() {
        let able = |node: &&Node| case.needs.iter().all(|need| node.has(*need));
        let able: Vec<Node> = run.nodes.iter().filter(able).cloned().collect();
        let of = |runtime: &str| -> Vec<Node> {
            able.iter().filter(|node| node.runtime == runtime).cloned().collect()
        };
        let nowhere = able.is_empty().then_some("none of its nodes has what it needs");
        let lacks = case.needs.iter().find_map(|need| run.cluster.lacks(*need)).or(nowhere);
        let mut add = |name: String, nodes: Vec<Node>| {
            let case_name = case_name.clone();
            planned.push(Planned { name, number, case_name, case: *case, nodes, lacks });
        };
        match case.runs {
            Runs::Once => add(case_name.clone(), able.clone()),
            // Told as skipped.
            Runs::OnEach if able.is_empty() => add(case_name.clone(), Vec::new()),
            Runs::OnEach => {
                for runtime in runtimes(&able) {
                    add(format!("{case_name}@{runtime}"), of(&runtime));
                }
            }
        }
    }
    planned
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

fn trial(run: &'static Run, planned: &Planned) {
    let Planned { name, number, case_name, case, nodes, .. } = planned;
    let begun = Instant::now();
    let seen = Arc::new(Seen::default());
    PANICKED.take();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut sandbox = Sandbox::new(run, name, nodes.clone(), Arc::clone(&seen));
        sandbox.filtered = case.filtered;
        (case.run)(&sandbox);
        seen.is_all_of(&runtimes(nodes));
    }));
    let seen = if outcome.is_ok() { seen.runtimes() } else { runtimes(nodes).into_iter().collect() };
    TABLE.lock().unwrap_or_else(PoisonError::into_inner).add(*number, case_name, seen, outcome.is_ok());
    if let Err(payload) = outcome {
        let why = super::steps::words(&*payload);
        let at = PANICKED.take().into_iter().find(|(_, said)| said == why).unwrap_or_default().0;
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name}: {at}: {why}"));
        resume_unwind(payload);
    }
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push((begun.elapsed(), name.clone()));
}

fn report(run: &Run, planned: &[Planned]) {
    let mut times = std::mem::take(&mut *TIMES.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort_by(|a, b| b.cmp(a));
    for (time, name) in times {
        println!("{:6.1} s  {name}", time.as_secs_f64());
    }
    print!("{}", TABLE.lock().unwrap_or_else(PoisonError::into_inner).shown(&runtimes(&run.nodes)));
    let skipped: Vec<_> = planned.iter().filter_map(|one| Some((&one.name, one.lacks?))).collect();
    for (name, why) in &skipped {
        println!("SKIPPED: {name}: {why}");
    }
    println!("{} skipped", skipped.len());
    for failed in FAILED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("FAILED: {failed}");
    }
}
