//! What the soak computes: which faults come when and how long, and whether a round was clean.
//!
//! Invariant: everything here is a pure function of what was written and seen, so that each verdict has its unit test.
//! Nothing here knows how the product works; what it must do is in docs/sync-rules.md.

mod conflict;
mod history;
mod last_word;
mod lost;
mod names;
mod plan;
mod standing;
mod story;
mod trees;
mod verdict;
mod watching;

#[cfg(test)]
mod example;

pub use history::{Content, End, Kept, Micros, Op, Round, Seen, Side, Sighting, State, Tree};
pub use names::{OWN, is_ignored, is_leftover, is_own};
pub use plan::{Fault, Next, Plan, figures, lengths, shortest};
pub use standing::{at_odds, is_loose, written_there};
pub use trees::differences;
pub use verdict::{Kind, Violation, judge};
