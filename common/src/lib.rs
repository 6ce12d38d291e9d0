//! What the plugin and radar both stand on and that belongs to neither: waits between tries, errors in words, names of signals,
//! microseconds, room on a disk, marks on their way through a queue.

mod backoff;
mod chain;
mod marks;
mod micros;
mod room;
mod signals;

pub use backoff::Backoff;
pub use chain::chain;
pub use marks::{Drained, Marks};
pub use micros::micros;
pub use room::{Room, SPARE_PERCENT};
pub use signals::SIGNALS;
