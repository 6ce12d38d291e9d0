//! The one merge: what must be done so that a container's directory and the local one hold the same. Pure: news of both
//! sides in, operations out, and what came of them in again. First attach, later edits, interruptions and healing all
//! go through here.
//!
//! Two invariants. An operation names the state that it replaces, and whoever carries it out replaces nothing else
//! (`ksync_tree::swap`). And what is known of a path moves only when an operation is reported as done, or when both sides
//! are found to hold the same: one that is refused keeps what was known, and is decided anew from what is there.

mod container;
mod decide;
mod digest;
mod exception;
mod group;
mod journal;
mod local;
mod op;
mod repository;
mod screen;
#[cfg(test)]
mod simulation;
mod state;
mod unasked;

pub use container::Container;
pub use decide::{Action, First, Policy, decide};
pub use digest::Digest;
pub use group::{Group, Member};
pub use journal::{BadRecord, Record};
pub use local::{Change, Local, Unknown};
pub use op::{Holds, Op, OpId, Outcome, Side, Wanted};
pub use screen::{Cleared, Concern, Terms};
pub use state::{Keep, Known, Past, State, same, same_content};
pub use unasked::{asked, concern, set_budget, set_terms};
