//! What the plugin and radar both stand on and that belongs to neither: waits between tries, errors in words.

mod backoff;
mod chain;

pub use backoff::Backoff;
pub use chain::{chain, first_line};
