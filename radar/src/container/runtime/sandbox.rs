//! Containers whose programs are no processes of the node: gVisor keeps them behind a kernel of its own, Kata in a
//! virtual machine. What their runtimes give as such a container's process is another program's.
//!
//! Invariant: a container is refused for what its runtime or its process is, before anything of it is entered: Kata's
//! hypervisor has the node's own root directory, and a file that is written "in the container" would be the node's.
//!
//! Known from the sources, not tried here:
//! - containerd names the shim (`io.containerd.runsc.v1`, `io.containerd.kata.v2`, `io.containerd.kata-qemu.v2`) as
//!   `runtimeType` of a container (internal/cri/server/container_status.go), Docker as `HostConfig.Runtime`, there also
//!   by the name that daemon.json has for it (`runsc`, `kata-runtime`).
//! - CRI-O notes the handler with the pod's sandbox only (`io.kubernetes.cri-o.RuntimeHandler`), not with a container:
//!   there the process tells.
//! - gVisor's process is the sandbox, whose first argument is `runsc-sandbox` (runsc/sandbox/sandbox.go).
//! - Kata's is the hypervisor or the shim, in a copy of the node's mount namespace ("just return the hypervisor's pid",
//!   src/runtime/pkg/containerd-shim-v2/service.go).

use std::{fmt, fs, os::unix::fs::MetadataExt, path::Path};

/// What keeps a container's files from the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sandbox {
    /// A kernel in user space.
    Gvisor,
    /// A virtual machine of Kata Containers.
    Kata,
    /// One of these, or another one.
    Unknown,
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gvisor => "gVisor",
            Self::Kata => "Kata",
            Self::Unknown => "such as Kata or gVisor",
        })
    }
}

/// By the runtime's name, as containerd and Docker record it.
pub(super) fn named(runtime: &str) -> Option<Sandbox> {
    let mut words = runtime.split(|c: char| !c.is_ascii_alphanumeric());
    words.find_map(|word| match word {
        "runsc" | "gvisor" => Some(Sandbox::Gvisor),
        "kata" => Some(Sandbox::Kata),
        _ => None,
    })
}

/// By the process that the runtime gives as the container's; `node` is the node's root directory. What can't be read
/// proves nothing.
pub(super) fn of_process(pid: i32, node: &Path) -> Option<Sandbox> {
    let command_line = ksync_procfs::command_line(pid).unwrap_or_default();
    // With a slash, so that what is looked at is the directory and not the link to it.
    let root = fs::metadata(format!("{}/", ksync_procfs::root_path(pid)));
    let on_the_node = match (root, fs::metadata(node.join(""))) {
        (Ok(root), Ok(node)) => (root.dev(), root.ino()) == (node.dev(), node.ino()),
        _ => false,
    };
    judge(&command_line, on_the_node)
}

fn judge(command_line: &[u8], on_the_node: bool) -> Option<Sandbox> {
    if command_line.split(|byte| *byte == 0).next() == Some(b"runsc-sandbox") {
        return Some(Sandbox::Gvisor);
    }
    on_the_node.then_some(Sandbox::Unknown)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Sandbox, judge, named, of_process};

    #[test]
    fn runtimes_are_known_by_their_names() {
        for name in ["io.containerd.runsc.v1", "runsc", "runsc-debug", "/usr/local/bin/runsc", "gvisor"] {
            assert_eq!(named(name), Some(Sandbox::Gvisor), "{name}");
        }
        for name in ["io.containerd.kata.v2", "io.containerd.kata-qemu.v2", "kata-runtime", "kata"] {
            assert_eq!(named(name), Some(Sandbox::Kata), "{name}");
        }
        for name in ["", "runc", "io.containerd.runc.v2", "crun", "nvidia", "youki", "katacoda", "runscape"] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn another_programs_process_is_no_containers() {
        let gvisor = b"runsc-sandbox\0--root=/run/containerd/runsc/k8s.io\0boot\0";
        assert_eq!(judge(gvisor, false), Some(Sandbox::Gvisor));
        assert_eq!(judge(b"/usr/bin/qemu-system-x86_64\0-name\0sandbox-1\0", true), Some(Sandbox::Unknown));
        for app in [&b"python3\0app.py\0"[..], b"sh\0-c\0exec runsc-sandbox\0", b""] {
            assert_eq!(judge(app, false), None);
        }
    }

    #[test]
    fn a_process_with_the_nodes_root_is_seen() {
        let me = i32::try_from(std::process::id()).unwrap();
        let node = ksync_procfs::root_path(me);
        assert_eq!(of_process(me, Path::new(&node)), Some(Sandbox::Unknown));
        let elsewhere = tempfile::tempdir().unwrap();
        assert_eq!(of_process(me, elsewhere.path()), None);
        assert_eq!(of_process(me, &elsewhere.path().join("missing")), None);
    }
}
