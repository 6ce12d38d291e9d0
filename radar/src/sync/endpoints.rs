//! Attachments that ksync's own engine syncs: of each opened one an endpoint, which owns the directory's content.
//!
//! Invariant: of an attachment there is at most one endpoint (`table`); nothing is told of as gone, and nothing written, in
//! the directory of a container that has ended (`checks`); nothing grows with a client that is slow to read (`host`).

mod channel;
mod checks;
mod error;
mod host;
mod last_files;
mod memory;
mod opened;
mod replies;
mod room;
mod staged;
mod table;
#[cfg(test)]
mod tests;
mod upload;

pub(crate) use channel::{Ask, open};
pub(crate) use error::Error;
pub(crate) use memory::{Purse, TooMuch};
pub(crate) use opened::Opened;
pub(crate) use replies::Replies;
pub(crate) use table::Endpoints;
pub(crate) use upload::Upload;
