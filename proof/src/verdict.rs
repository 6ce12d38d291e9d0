//! Whether facts are a proof.
//!
//! Invariant: pure. What is looked at twice is judged twice: the second proof has to be equal to the first.

use std::collections::BTreeSet;

use ksync_procfs::{NamespaceId, PipeEnd};

/// What `/proc` tells of a process that says that it was started by `pods/exec`, and of its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The process, and when it was started.
    pub(crate) process: (i32, u64),
    /// Device and inode of what it executes.
    pub(crate) executable: (u64, u64),
    /// Who traces it; 0 for nobody.
    pub(crate) tracer: i32,
    /// Its mount namespace.
    pub(crate) mounts: NamespaceId,
    /// Whether its parent is in the reader's PID namespace: whoever is started inside, or left there by its parent, has one in
    /// the container's.
    pub(crate) started_above: bool,
    /// Its descriptor 0.
    pub(crate) stdin: Option<PipeEnd>,
    /// The container's init, and when it was started.
    pub(crate) init: (i32, u64),
    /// Its mount namespace.
    pub(crate) init_mounts: NamespaceId,
    /// Whether it is in a PID namespace of its own, and not in the reader's.
    pub(crate) init_is_apart: bool,
    /// The pipes that are its descriptors 0 to 2.
    pub(crate) init_pipes: BTreeSet<u64>,
    /// Who can write to the pipe at its descriptor 0.
    pub(crate) written: Written,
}

/// Who can write to a pipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Whether any process that is not in the reader's PID namespace can.
    pub(crate) inside: bool,
    /// Whether a process above can that is in the reader's PID namespace and in no pod's control group.
    pub(crate) above: bool,
}

/// Which process of which container it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The process, and when it was started.
    pub process: (i32, u64),
    /// The container's init, and when it was started.
    pub init: (i32, u64),
    /// The pipe at its descriptor 0.
    pub pipe: u64,
}

/// Why it is none, as a sentence for the person whose watcher asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has the node's process numbers, among which radar can't tell inside from outside.
    #[error(
        "the container shares the process numbers of its node (`hostPID`), so an exec into it proves nothing"
    )]
    HostPid,
    /// It is not the program that was planted.
    #[error("another program than radar's own has answered from the container")]
    Program,
    /// It is in another container, or in none.
    #[error("the program has answered from elsewhere than the container")]
    Elsewhere,
    /// It may do what its tracer wants.
    #[error("the program is being traced by process `{0}`")]
    Traced(i32),
    /// An exec without stdin, with a terminal, or with a runtime that uses a socket.
    #[error(
        "the exec's stdin is no pipe: it takes `stdin: true`, no terminal, and a runtime that makes pipes"
    )]
    NoPipe,
    /// It was started by the container, with what it had.
    #[error("the program's stdin is the container's own")]
    OwnPipe,
    /// Whoever has it there could have started the program.
    #[error("a process of the container can write to the program's stdin")]
    WrittenInside,
    /// A process of the container has started it, with the stdin of somebody's exec perhaps.
    #[error("a process of the container has started the program")]
    StartedInside,
    /// No runtime has the other end.
    #[error("no process of the container runtime has the other end of the program's stdin")]
    NobodyAbove,
}

/// Whether what was seen proves that a runtime has started the program `planted` (device and inode) in the container.
///
/// # Errors
/// What is missing.
pub fn judge(seen: &Seen, planted: (u64, u64)) -> Result<Proof, Refusal> {
    if !seen.init_is_apart {
        return Err(Refusal::HostPid);
    }
    if seen.executable != planted {
        return Err(Refusal::Program);
    }
    if seen.mounts != seen.init_mounts {
        return Err(Refusal::Elsewhere);
    }
    if seen.tracer != 0 {
        return Err(Refusal::Traced(seen.tracer));
    }
    let pipe = seen.stdin.filter(|end| end.reads && !end.writes).ok_or(Refusal::NoPipe)?.pipe;
    if seen.init_pipes.contains(&pipe) {
        return Err(Refusal::OwnPipe);
    }
    if seen.written.inside {
        return Err(Refusal::WrittenInside);
    }
    if !seen.started_above {
        return Err(Refusal::StartedInside);
    }
    if !seen.written.above {
        return Err(Refusal::NobodyAbove);
    }
    Ok(Proof { process: seen.process, init: seen.init, pipe })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use ksync_procfs::{Namespace, namespace};

    use super::*;

    fn seen() -> Seen {
        let me = i32::try_from(std::process::id()).unwrap();
        let mounts = namespace(me, Namespace::Mount).unwrap();
        Seen {
            process: (7, 70),
            executable: (1, 2),
            tracer: 0,
            mounts: mounts.clone(),
            started_above: true,
            stdin: Some(PipeEnd { pipe: 9, reads: true, writes: false }),
            init: (3, 30),
            init_mounts: mounts,
            init_is_apart: true,
            init_pipes: [4, 5].into(),
            written: Written { inside: false, above: true },
        }
    }

    #[test]
    fn each_fact_alone_that_is_amiss_is_named() {
        let planted = (1, 2);
        assert_eq!(judge(&seen(), planted), Ok(Proof { process: (7, 70), init: (3, 30), pipe: 9 }));
        let me = i32::try_from(std::process::id()).unwrap();
        let elsewhere = namespace(me, Namespace::Network).unwrap();
        let end = |reads, writes| Some(PipeEnd { pipe: 9, reads, writes });
        let cases = [
            (Seen { init_is_apart: false, ..seen() }, Refusal::HostPid),
            (Seen { executable: (1, 3), ..seen() }, Refusal::Program),
            (Seen { mounts: elsewhere, ..seen() }, Refusal::Elsewhere),
            (Seen { tracer: 8, ..seen() }, Refusal::Traced(8)),
            (Seen { stdin: None, ..seen() }, Refusal::NoPipe),
            (Seen { stdin: end(false, true), ..seen() }, Refusal::NoPipe),
            // Opened again through /proc, by somebody who has it for both.
            (Seen { stdin: end(true, true), ..seen() }, Refusal::NoPipe),
            // `helper <&1`
            (Seen { init_pipes: [9].into(), ..seen() }, Refusal::OwnPipe),
            (Seen { written: Written { inside: true, above: true }, ..seen() }, Refusal::WrittenInside),
            (Seen { started_above: false, ..seen() }, Refusal::StartedInside),
            (Seen { written: Written::default(), ..seen() }, Refusal::NobodyAbove),
        ];
        for (seen, refusal) in cases {
            assert_eq!(judge(&seen, planted), Err(refusal), "{seen:?}");
        }
    }
}
