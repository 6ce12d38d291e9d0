//! The node's syncthing, from both sides of its lifeline: `radar syncthing` is its parent (`parent`), `radar serve` its
//! user (`node_syncthing`).
//!
//! Invariant: a syncthing without a radar that watches over the containers ends within a second or so.

pub(crate) mod lifeline;
pub(crate) mod node_syncthing;
pub(crate) mod parent;
