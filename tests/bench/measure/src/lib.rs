//! What the bench computes and no cluster is needed for: statistics, its table, its plot, the numbers in the documents,
//! and when bytes leave a slow network.

mod docs;
mod figure;
mod goal;
mod pacer;
mod plot;
mod report;
mod row;
mod table;

pub use docs::{NoMarks, replace};
pub use goal::Goal;
pub use pacer::Pacer;
pub use plot::svg;
pub use report::Report;
pub use row::{Row, Unit};
pub use table::{full, short};
