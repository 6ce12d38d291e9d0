//! The syncthings of a node, one for each session, from both sides of the lifeline: `radar syncthing` is their parent (`parent`),
//! `radar serve` their user (`session_syncthing`).
//!
//! Invariant: a syncthing has its session's directories and nothing else of the node, and ends with the session, and with radar.

mod child;
pub(crate) mod confine;
pub(crate) mod lifeline;
pub(crate) mod network;
pub(crate) mod parent;
pub(crate) mod presence;
pub(crate) mod session_syncthing;
