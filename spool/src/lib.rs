//! Spools: directories of ksync's own through which syncthing moves large files; for both sides.
//!
//! At either end of a session on a node there is one [`Pair`]: an outbox, whose files syncthing offers to the other end, and
//! an inbox, into which it pulls theirs. A file's name is its content's hash, so that one content goes over the wire once,
//! however many containers of the node get it, and what a broken connection has left is gone on with.
//!
//! Invariant: syncthing is given these directories and no others. A file gets its name when it is complete, and is removed
//! when its transfer is over. Whoever takes one out of an inbox checks its hash: the other end is not trusted.

mod error;
mod inbox;
mod name;
mod outbox;
mod pair;
mod room;

pub use error::Error;
pub use inbox::{Arrived, Inbox};
pub use name::{Name, is_tag};
pub use outbox::{Filling, Lease, Leased, Outbox};
pub use pair::{End, Pair};
