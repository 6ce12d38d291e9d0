//! The edge of radar: the door, the gRPC server, a handler for each call, and the kubelet's probe.
//!
//! Invariant: the wire's types and statuses end here. No room below returns a gRPC status.

mod allowance;
mod door;
pub(crate) mod handlers;
mod places;
pub(crate) mod probe;
pub(crate) mod serve;
mod sizes;
pub(crate) mod status;
