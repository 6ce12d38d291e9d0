//! radar, the agent on each node: finds containers, keeps their directories equal to those of watchers, and sees to it
//! that a directory's end is never taken for the deletion of its files.
//!
//! | room | what it is for |
//! |---|---|
//! | `cli` | which of radar's parts this process is |
//! | `api` | the gRPC server, each call's handler, the kubelet's probe |
//! | `reload` | the app of a container runs the code that was just synced |
//! | `sync` | sessions, what they hold, the endpoints by which it is synced |
//! | `supervisor` | the syncthings of sessions: their parent, and the way to each |
//! | `container` | a container's runtime, init process, mounts and attached directory |
//! | `guards`, `paths` | what stands between an accident and the local files; the pod's directories and sockets |
//!
//! Rooms use only rooms below themselves.

mod api;
mod cli;
mod container;
mod guards;
mod paths;
mod reload;
mod supervisor;
mod sync;

fn main() -> std::process::ExitCode {
    cli::run()
}
