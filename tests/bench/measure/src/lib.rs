//! What the bench computes and no cluster is needed for: statistics, its table, its plot, the numbers in the README,
//! and when bytes leave a slow network.

mod goal;
mod pacer;
mod plot;
mod readme;
mod report;
mod row;
mod table;

pub use goal::Goal;
pub use pacer::Pacer;
pub use plot::svg;
pub use readme::{NoMarks, replace};
pub use report::Report;
pub use row::{Row, Unit};
pub use table::{full, short};
