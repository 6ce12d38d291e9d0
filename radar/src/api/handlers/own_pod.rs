//! Refusal of the containers of radar's own pod: nobody may sync these.
//!
//! Invariant: the kernel's namespaces of the process decide, never the words of a client.

use ksync_procfs::Namespace;
use tonic::Status;

/// Refuses the process `pid` if it is in the pod of this process, or shares the view of `supervisor_pid`, the syncthings' parent.
pub(super) fn refuse(pid: i32, supervisor_pid: Option<i32>) -> Result<(), Status> {
    let mine = i32::try_from(std::process::id()).unwrap_or_default();
    // A pod's containers share its network; on the node's own network are many pods.
    let pods_network = namespace(mine, Namespace::Network)
        .filter(|mine| namespace(1, Namespace::Network).is_some_and(|one| one != *mine));
    let same =
        |other: i32, kind: Namespace| namespace(pid, kind).is_some_and(|n| Some(n) == namespace(other, kind));
    let own = same(mine, Namespace::Mount)
        || supervisor_pid.is_some_and(|pid| same(pid, Namespace::Mount))
        || (pods_network.is_some() && namespace(pid, Namespace::Network) == pods_network);
    if own { Err(Status::permission_denied("containers of ksync's own pod are not synced")) } else { Ok(()) }
}

fn namespace(pid: i32, kind: Namespace) -> Option<ksync_procfs::NamespaceId> {
    ksync_procfs::namespace(pid, kind).ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::refuse;

    fn id(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    #[test]
    fn a_process_in_radars_view_is_refused_and_another_is_not() {
        let mine = i32::try_from(std::process::id()).unwrap();
        assert_eq!(refuse(mine, None).unwrap_err().message(), "containers of ksync's own pod are not synced");
        let apart = || {
            use std::io::Read;
            let mut child = Command::new("unshare")
                .args(["--mount", "--net", "sh", "-c", "echo ready; exec sleep 1000"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            let mut word = [0; 5];
            if child.stdout.take()?.read_exact(&mut word).is_ok() {
                return Some(child);
            }
            child.wait().ok()?;
            None
        };
        let (Some(mut other), Some(mut supervisor)) = (apart(), apart()) else {
            return ksync_skip::skipped("no namespaces here");
        };
        let (well, own) =
            (refuse(id(&other), Some(id(&supervisor))), refuse(id(&supervisor), Some(id(&supervisor))));
        for child in [&mut other, &mut supervisor] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(well.is_ok() && own.is_err());
    }
}
