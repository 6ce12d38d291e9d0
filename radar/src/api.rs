//! What radar is asked from outside: its gRPC server, each call's handler, and the kubelet's probe.
//!
//! Invariant: the wire's types and statuses end here. The rooms below know neither a request nor a gRPC code of theirs.

pub(crate) mod handlers;
pub(crate) mod probe;
pub(crate) mod serve;
pub(crate) mod status;
