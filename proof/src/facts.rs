//! What `/proc` tells of a process that says that it was started by `pods/exec`.
//!
//! Invariant: what is not there any more, or can't be read, is an error, but for single descriptors, which come and go.

use std::io;

use ksync_procfs::{
    Error, Namespace, NamespaceId, Status, control_groups, executable_file, namespace, pipe_end, processes,
    started,
};

use crate::{
    above::{Ancestor, above},
    descriptors::writes,
    groups::outside_of_pods,
    verdict::{Seen, Written},
};

/// Looks at the process `peer`, about the container whose init is `init`; both are numbers of the reader's PID namespace,
/// which has to be the node's. Blocks for some milliseconds, more on a node with many processes.
///
/// The numbers are to be held by pidfds from before this until after the verdict.
///
/// # Errors
/// One of both has ended, or the kernel does not tell.
pub fn look(peer: i32, init: i32) -> Result<Seen, Error> {
    let own = namespace(own_number(), Namespace::Pid)?;
    let (stdin, above) = (pipe_end(peer, 0)?, above(peer)?);
    // A program may have closed them.
    let init_pipe = |descriptor| pipe_end(init, descriptor).ok().flatten().map(|end| end.pipe);
    let written = match stdin {
        Some(end) => {
            Written { inside: written_inside(end.pipe, &own)?, above: written_above(&above, end.pipe, &own)? }
        }
        None => Written::default(),
    };
    Ok(Seen {
        process: (peer, since(peer)?),
        executable: executable_file(peer)?,
        tracer: Status::of(peer)?.tracer,
        mounts: namespace(peer, Namespace::Mount)?,
        started_above: above.first().is_some_and(|parent| parent.is_in(&own)),
        stdin,
        init: (init, since(init)?),
        init_mounts: namespace(init, Namespace::Mount)?,
        init_is_apart: namespace(init, Namespace::Pid)? != own,
        init_pipes: (0..=2).filter_map(init_pipe).collect(),
        written,
    })
}

fn own_number() -> i32 {
    i32::try_from(std::process::id()).unwrap_or_default()
}

fn since(process: i32) -> Result<u64, Error> {
    let gone = || Error { path: format!("/proc/{process}/stat"), source: io::ErrorKind::NotFound.into() };
    started(process).ok_or_else(gone)
}

/// Whether a process of any other PID namespace than the reader's can write to the pipe.
fn written_inside(pipe: u64, own: &NamespaceId) -> Result<bool, Error> {
    let inside = |process: &i32| namespace(*process, Namespace::Pid).is_ok_and(|other| other != *own);
    Ok(processes()?.into_iter().filter(inside).any(|process| writes(process, pipe)))
}

/// Whether one of the processes above can write to the pipe that is in the reader's PID namespace and in no pod.
fn written_above(above: &[Ancestor], pipe: u64, own: &NamespaceId) -> Result<bool, Error> {
    let first = control_groups(1)?;
    let outside = |ancestor: &&Ancestor| {
        ancestor.is_in(own)
            && control_groups(ancestor.process.0).is_ok_and(|groups| outside_of_pods(&groups, &first))
    };
    Ok(above.iter().filter(outside).any(|ancestor| writes(ancestor.process.0, pipe)))
}
