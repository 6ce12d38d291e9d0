//! One side of a sync: a directory, what is known to be in it, and the one writer that changes it. Both the local directory
//! and a container's are served by this crate, each by one thread that owns all of it ([`Driver`]).
//!
//! Invariants: what is told of a path was looked at after the hint for it came; nothing is replaced or removed but by
//! compare-and-swap (`ksync_tree::Swapped`); what is displaced stays on the disk until it is known to be nobody's loss.

mod apply;
mod audit;
mod driver;
mod held;
mod index;
mod linked;
mod look;
mod meter;
mod options;
mod suspects;
#[cfg(test)]
mod tests;

pub use apply::{Applied, Content, Job, apply};
pub use audit::audit;
pub use driver::{Driver, Host, Input, Output};
pub use held::HeldFile;
pub use look::{Depth, Endpoint, News};
pub use meter::{Meter, size as remembered_size};
pub use options::Options;
