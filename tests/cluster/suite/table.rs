//! Case by runtime: on which runtimes each case had containers of its own, and how it went there.
//!
//! Invariant: a cell is filled by what was seen in the cluster, never by what a case is said to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

/// Runtimes of the containers that one trial had.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<BTreeSet<String>>);

impl Seen {
    /// Notes the runtime of a running container, by its id.
    pub(crate) fn note(&self, container_id: &str) {
        if let Some((runtime, _)) = container_id.split_once("://") {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(runtime.to_owned());
        }
    }

    pub(crate) fn runtimes(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Panics when there were containers, but not on each of these.
    #[track_caller]
    pub(crate) fn is_all_of(&self, runtimes: &[String]) {
        let seen = self.runtimes();
        assert!(
            seen.is_empty() || runtimes.iter().all(|runtime| seen.contains(runtime)),
            "it had containers on {seen:?} and not on all of {runtimes:?}: let its app be everywhere, or the case run \
             `on_each`"
        );
    }
}

/// What is known of a case on one runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Ok,
    Failed,
}

/// All that ran.
#[derive(Debug)]
pub(crate) struct Table(BTreeMap<usize, (String, BTreeMap<String, Cell>)>);

impl Table {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// One trial of a case, whose number says where its row stands.
    pub(crate) fn add(&mut self, number: usize, case: &str, runtimes: BTreeSet<String>, passed: bool) {
        let (_, cells) = self.0.entry(number).or_insert_with(|| (case.to_owned(), BTreeMap::new()));
        for runtime in runtimes {
            let cell = cells.entry(runtime).or_insert(Cell::Ok);
            if !passed {
                *cell = Cell::Failed;
            }
        }
    }

    /// With a column for each of `runtimes`, and a line that counts.
    pub(crate) fn shown(&self, runtimes: &[String]) -> String {
        let width = self.0.values().map(|(case, _)| case.len()).max().unwrap_or_default();
        let line = |case: &str, cells: Vec<&str>| {
            let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:<10}")).collect();
            format!("{case:width$}  {}", cells.join("  ")).trim_end().to_owned() + "\n"
        };
        let mut text = line("", runtimes.iter().map(String::as_str).collect());
        let (mut everywhere, mut nowhere) = (0, 0);
        for (case, cells) in self.0.values() {
            let cell = |runtime: &String| match cells.get(runtime) {
                Some(Cell::Ok) => "ok",
                Some(Cell::Failed) => "FAILED",
                None => "-",
            };
            text += &line(case, runtimes.iter().map(cell).collect());
            everywhere += usize::from(runtimes.iter().all(|runtime| cells.get(runtime) == Some(&Cell::Ok)));
            nowhere += usize::from(cells.is_empty());
        }
        let ran = self.0.len();
        text + &format!(
            "{ran} cases ran: {everywhere} passed on every runtime, {nowhere} have no containers\n"
        )
    }
}
