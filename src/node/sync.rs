//! The sync stream of a link: one for all attachments of a node that are open for ksync's own engine.
//!
//! Invariant: what an attachment's engine receives is gapless and in order until its end, and an end of the stream is the end
//! of all of them.

mod content;
mod far;
mod spooled;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use far::RemoteFar;
pub(super) use far::open;
pub(super) use stream::SyncStream;
