//! All that is measured, in groups that can be asked for by name.

mod absent;
mod attach;
mod back;
mod burst;
mod commands;
mod deletions;
mod edit;
mod idle;
mod initial;
mod large;
mod pods;
mod reload;
mod slow;

use ksync_measure::Row;

use crate::{bed::Bed, bench::Bench};

/// What a group needs.
#[derive(Clone, Copy)]
pub(crate) enum Where {
    /// A container in sync; it is measured on each node.
    OnABed(fn(&Bench, &Bed) -> Vec<Row>),
    /// Sandboxes of its own. Rows are handed over as they come.
    Alone(fn(&Bench, &mut dyn FnMut(Row))),
}

/// Rows that belong together.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) place: Where,
    /// Part of a run that asks for nothing in particular.
    pub(crate) usual: bool,
    /// Part of a long run.
    pub(crate) long: bool,
}

impl Group {
    const fn on_a_bed(name: &'static str, measure: fn(&Bench, &Bed) -> Vec<Row>) -> Self {
        Self { name, place: Where::OnABed(measure), usual: true, long: false }
    }

    const fn alone(name: &'static str, measure: fn(&Bench, &mut dyn FnMut(Row))) -> Self {
        Self { name, place: Where::Alone(measure), usual: true, long: false }
    }

    /// Only in a long run, or where it is asked for.
    const fn long(self) -> Self {
        Self { usual: false, long: true, ..self }
    }

    /// Only where it is asked for.
    const fn by_name(self) -> Self {
        Self { usual: false, ..self }
    }
}

/// In the order of the table.
pub(crate) const ALL: &[Group] = &[
    Group::on_a_bed("edit", edit::measure),
    Group::on_a_bed("back", back::measure),
    Group::on_a_bed("burst", burst::measure),
    Group::on_a_bed("rename", burst::moved),
    Group::on_a_bed("big", burst::big),
    Group::on_a_bed("absent", absent::measure),
    Group::alone("attach", attach::measure),
    Group::alone("initial", initial::measure),
    Group::alone("commands", commands::measure),
    Group::alone("idle", idle::measure),
    Group::alone("slow", slow::measure),
    Group::alone("attach-many", attach::many).long(),
    Group::alone("pods", pods::measure).long(),
    Group::alone("many", large::many).long(),
    Group::alone("huge", large::huge).long(),
    // Whatever is measured after it is slower: see `Bench::retire`.
    Group::alone("deletions", deletions::measure),
    Group::alone("reload", reload::measure).by_name(),
];
