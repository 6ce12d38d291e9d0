//! The stream between the watcher's engine and radar's endpoints: its messages as this project's own types, and their way to
//! wire types and back.
//!
//! Invariant: both ends of a stream remember the same contents of each direction, so that one that was sent goes once,
//! whatever number of containers it is for.

mod contents;
mod error;
mod message;
mod pack;
mod replies;
mod requests;
mod state;

pub use contents::LARGEST;
pub use error::Error;
pub use message::{Content, End, Ended, Open, Reply, Request, TOGETHER, size_of};
pub use pack::{Packer, unpack};
pub use replies::{ReplyDecoder, ReplyEncoder};
pub use requests::{RequestDecoder, RequestEncoder};
pub use state::{entry, entry_from};
