//! Where a process is: its root, its executable, its namespaces, its control groups (proc_pid_root(5), proc_pid_exe(5),
//! namespaces(7), cgroups(7)).
//!
//! Invariant: a path that this room gives out is of a magic link, for an open(2) that shall end in the process's world;
//! what this room reads by itself is a name only.

use std::path::PathBuf;

use crate::{error::Error, read};

/// The directory of this process's own descriptors, each a link by its number. Opening one opens the file anew.
pub const OWN_DESCRIPTORS: &str = "/proc/self/fd";

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Mounts.
    Mount,
    /// Network.
    Network,
    /// Process numbers.
    Pid,
    /// Process numbers of what the process will start.
    PidForChildren,
    /// Users and groups.
    User,
}

/// A namespace by the kernel's name of it, such as `net:[4026531840]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceId(PathBuf);

/// Which namespace of a kind a process is in.
pub fn namespace(tid: i32, kind: Namespace) -> Result<NamespaceId, Error> {
    read::link(&namespace_path(tid, kind)).map(NamespaceId)
}

/// The link that opens a namespace, for setns(2).
pub fn namespace_path(tid: i32, kind: Namespace) -> String {
    let name = match kind {
        Namespace::Mount => "mnt",
        Namespace::Network => "net",
        Namespace::Pid => "pid",
        Namespace::PidForChildren => "pid_for_children",
        Namespace::User => "user",
    };
    format!("/proc/{tid}/ns/{name}")
}

/// The root directory of a process, as its mount namespace names it.
pub fn root(tid: i32) -> Result<PathBuf, Error> {
    read::link(&root_path(tid))
}

/// The link that opens the root directory of a process.
pub fn root_path(tid: i32) -> String {
    format!("/proc/{tid}/root")
}

/// The file that a process executes, as its mount namespace names it; ` (deleted)` follows the name of a file that was
/// removed or replaced.
pub fn executable(tid: i32) -> Result<PathBuf, Error> {
    read::link(&format!("/proc/{tid}/exe"))
}

/// Device and inode of the file that a process executes, whatever stands at its name now.
pub fn executable_file(tid: i32) -> Result<(u64, u64), Error> {
    read::file(&format!("/proc/{tid}/exe"))
}

/// The control groups of a process, a line for each hierarchy, such as `0::/kubepods/podX/Y`.
pub fn control_groups(pid: i32) -> Result<String, Error> {
    read::text(&format!("/proc/{pid}/cgroup"))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::{Namespace, control_groups, executable, executable_file, namespace, root};

    #[test]
    fn this_process_is_where_it_is() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(executable(me).unwrap(), std::env::current_exe().unwrap());
        let file = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
        let file = (std::os::unix::fs::MetadataExt::dev(&file), std::os::unix::fs::MetadataExt::ino(&file));
        assert_eq!(executable_file(me).unwrap(), file);
        assert!(root(me).unwrap().is_absolute() && control_groups(me).unwrap().contains(":/"));
        let own = |kind| namespace(me, kind).unwrap();
        assert_eq!(own(Namespace::Pid), own(Namespace::PidForChildren));
        let all = [Namespace::Mount, Namespace::Network, Namespace::Pid, Namespace::User].map(own);
        assert!((1..4).all(|at| !all[..at].contains(&all[at])), "{all:?}");
        assert_eq!(namespace(0, Namespace::User).unwrap_err().path, "/proc/0/ns/user");
    }
}
