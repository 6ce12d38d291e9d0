//! One run of the bench: which groups, on which nodes, and what came of it, written after each group.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use clap::Parser;
use ksync_measure::{Report, Row};

use crate::{
    bed::{Bed, runtime},
    environment, observer,
    options::Options,
    rows::{self, Group, Where},
    suite::{Sandbox, nodes::Node, run::Run, steps::words},
};

/// The run.
pub(crate) struct Bench {
    pub(crate) run: &'static Run,
    pub(crate) options: Options,
    /// Each with its group's place in the list.
    rows: std::sync::Mutex<Vec<(usize, Row)>>,
    failures: std::sync::Mutex<Vec<(String, String)>>,
    environment: Vec<(String, String)>,
    retired: std::sync::Mutex<Vec<Sandbox>>,
}

/// Runs what the command line selects.
pub(crate) fn main() -> ExitCode {
    let options = Options::parse();
    let groups = match selected(&options) {
        Ok(groups) => groups,
        Err(said) => {
            eprintln!("error: {said}");
            return ExitCode::FAILURE;
        }
    };
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("{at}: {}", words(info.payload()));
    }));
    let run: &'static Run = Box::leak(Box::new(Run::begin()));
    let bench = Bench {
        run,
        environment: environment::read(run),
        options,
        rows: std::sync::Mutex::default(),
        failures: std::sync::Mutex::default(),
        retired: std::sync::Mutex::default(),
    };
    bench.measure(&groups);
    let out = bench.write();
    let retired = std::mem::take(&mut *bench.retired.lock().unwrap());
    bench.attempt("what was measured is taken away", || drop(retired));
    if let Err(left) = run.end() {
        bench.failed("end", &format!("something was left behind: {left}"));
    }
    println!("{}", out.display());
    let failures = bench.failures.lock().unwrap();
    for (what, why) in failures.iter() {
        eprintln!("error: {what}: {why}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn selected(options: &Options) -> Result<Vec<(usize, Group)>, String> {
    let all = || rows::ALL.iter().copied().enumerate();
    let unknown = options.rows.iter().find(|name| !rows::ALL.iter().any(|group| group.name == **name));
    if let Some(unknown) = unknown {
        let names: Vec<&str> = rows::ALL.iter().map(|group| group.name).collect();
        return Err(format!("no rows are called `{unknown}`; there are {}", names.join(", ")));
    }
    let usual = |group: &Group| options.rows.is_empty() && group.usual;
    let long = |group: &Group| options.long && group.long;
    let named = |group: &Group| options.rows.iter().any(|name| name == group.name);
    Ok(all().filter(|(_, group)| usual(group) || long(group) || named(group)).collect())
}

impl Bench {
    /// A sandbox whose apps are on this node.
    pub(crate) fn on(&self, node: &Node, what: &str) -> Sandbox {
        let name = format!("bench-{what}-{}", node.runtime);
        Sandbox::new(self.run, &name, vec![node.clone()], Arc::default())
    }

    /// One whose apps are on all of them.
    pub(crate) fn on_all(&self, what: &str) -> Sandbox {
        Sandbox::new(self.run, &format!("bench-{what}"), self.run.nodes.clone(), Arc::default())
    }

    /// The groups that need nothing but a container in sync share one on each node; the others make their own.
    fn measure(&self, groups: &[(usize, Group)]) {
        let on_a_bed = |group: &&(usize, Group)| matches!(group.1.place, Where::OnABed(_));
        let shared: Vec<_> = groups.iter().filter(on_a_bed).collect();
        for node in &self.run.nodes {
            if shared.is_empty() {
                break;
            }
            self.attempt(&format!("a container on {}", runtime(node)), || {
                let bed = Bed::new(self, node);
                for (place, group) in &shared {
                    let Where::OnABed(measure) = group.place else { continue };
                    let measured = self.attempt(&format!("{}, {}", group.name, bed.runtime), || {
                        for row in measure(self, &bed) {
                            self.add(*place, row);
                        }
                    });
                    if !measured {
                        bed.sandbox.keep_evidence();
                    }
                }
                self.retire(bed.sandbox);
            });
            self.write();
        }
        for (place, group) in groups {
            let Where::Alone(measure) = group.place else { continue };
            self.attempt(group.name, || measure(self, &mut |row| self.add(*place, row)));
            self.write();
        }
    }

    /// Whether it went through. What panics is noted, and the others go on.
    fn attempt(&self, what: &str, work: impl FnOnce()) -> bool {
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(work));
        if let Err(why) = &result {
            self.failed(what, words(&**why));
        }
        eprintln!("== {what}: {:.1} s", begun.elapsed().as_secs_f64());
        result.is_ok()
    }

    /// Keeps a sandbox that was measured until the end, its watcher stopped. ext4 looks at each inode that was deleted within
    /// the last minutes before it takes one for a new file (`recently_deleted`), so who takes thousands of files away makes
    /// whatever is measured next three times as slow.
    pub(crate) fn retire(&self, sandbox: Sandbox) {
        sandbox.ksync.run(&["stop"]);
        self.retired.lock().unwrap().push(sandbox);
    }

    fn failed(&self, what: &str, why: &str) {
        self.failures.lock().unwrap().push((what.to_owned(), why.to_owned()));
    }

    fn add(&self, place: usize, row: Row) {
        println!(
            "{}: p50 {} p90 {} max {} {} ({} trials){}",
            row.name,
            row.p50,
            row.p90,
            row.max,
            row.unit.word(),
            row.trials,
            row.goal.as_ref().map_or_else(String::new, |goal| format!(", goal {goal}"))
        );
        self.rows.lock().unwrap().push((place, row));
    }

    /// Table, figures and picture in `target/bench`; the table's path.
    fn write(&self) -> PathBuf {
        let mut rows = self.rows.lock().unwrap().clone();
        rows.sort_by_key(|(place, _)| *place);
        let mut environment = self.environment.clone();
        environment.push(("observer".to_owned(), observer::said()));
        let report = Report {
            environment,
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            failures: self.failures.lock().unwrap().clone(),
        };
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        fs::create_dir_all(&dir).expect("make target/bench");
        let name = &self.options.name;
        let file = |ending: &str| dir.join(format!("{name}.{ending}"));
        fs::write(file("json"), report.to_json().expect("figures")).expect("write the figures");
        fs::write(file("svg"), ksync_measure::svg(&report.rows).expect("a picture"))
            .expect("write the picture");
        fs::write(file("md"), ksync_measure::full(&report)).expect("write the table");
        file("md")
    }
}
