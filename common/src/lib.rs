//! What the plugin and radar both stand on and that belongs to neither: waits between tries, errors in words, names of signals,
//! microseconds.

mod backoff;
mod chain;
mod micros;
mod signals;

pub use backoff::Backoff;
pub use chain::chain;
pub use micros::micros;
pub use signals::SIGNALS;
