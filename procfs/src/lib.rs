//! Processes as Linux shows them below `/proc` (proc(5)): one function for each file that ksync reads.
//!
//! Invariant: reading changes nothing, and nothing that a process writes about itself (its name, its arguments) keeps
//! this crate from reading the rest. No other crate of the workspace knows the format of a file of `/proc/PID`.
//!
//! The crate `procfs` (0.18) was measured against this list and falls short of it: a status without
//! `Seccomp_filters`, and none at all for a name that the kernel has cut inside a UTF-8 character; a command line
//! without its empty arguments; an environment without its order; nothing of `fdinfo`; mount points still escaped.

mod command;
mod error;
mod fdinfo;
#[cfg(fuzzing)]
mod fuzzing;
mod ids;
mod links;
mod memory;
mod mounts;
mod pipes;
mod processes;
mod read;
mod state;
mod status;

pub use command::{command_line, environment};
pub use error::Error;
pub use fdinfo::{InotifyMark, closes_on_exec, descriptors, inotify_marks, own_inotify_marks};
#[cfg(fuzzing)]
pub use fuzzing::fuzz;
pub use ids::{IdMaps, IdRange};
pub use links::{
    Namespace, NamespaceId, OWN_DESCRIPTORS, control_groups, executable, executable_file, namespace,
    namespace_path, root, root_path,
};
pub use memory::{entry_point, open_memory};
pub use mounts::{Mount, mounts, own_mounts, parse_mounts};
pub use pipes::{PipeEnd, pipe_end, writes_to};
pub use processes::{living_thread, parent, parents, processes, started, thread_state, threads};
pub use state::State;
pub use status::{Seccomp, Status};
