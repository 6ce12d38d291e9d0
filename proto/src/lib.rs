//! The wire types of every API that the parts speak. They stay at the edges: inside, each part has its own.
#![allow(clippy::pedantic, clippy::large_enum_variant, unreachable_pub, missing_docs)]

/// Watcher to radar.
pub mod radar {
    tonic::include_proto!("ksync.radar.v1");
}

/// Commands to watcher.
pub mod watch {
    tonic::include_proto!("ksync.watch.v1");
}

/// radar to the node's container runtime.
pub mod cri {
    tonic::include_proto!("runtime.v1");
}
