//! What `/proc` tells of a process that says that it was started by `pods/exec`.
//!
//! Invariant: what is not there any more, or can't be read, is an error, but for single descriptors, which come and go.

use std::{collections::BTreeMap, io};

use ksync_procfs::{
    Error, Namespace, NamespaceId, Status, control_groups, executable_file, namespace, parents, pipe_end,
    processes, started, threads, writes_to,
};

use crate::{groups::outside_of_pods, verdict::Seen};

/// Looks at the process `peer`, about the container whose init is `init`; both are numbers of the reader's PID namespace,
/// which has to be the node's. Blocks for some milliseconds, more on a node with many processes.
///
/// The numbers are to be held by pidfds from before this until after the verdict.
///
/// # Errors
/// One of both has ended, or the kernel does not tell.
pub fn look(peer: i32, init: i32) -> Result<Seen, Error> {
    let own = namespace(own_number(), Namespace::Pid)?;
    let (stdin, parents) = (pipe_end(peer, 0)?, parents()?);
    // A program may have closed them.
    let init_pipe = |descriptor| pipe_end(init, descriptor).ok().flatten().map(|end| end.pipe);
    let (written_inside, written_above) = match stdin {
        Some(end) => (written_inside(end.pipe, &own)?, written_above(peer, end.pipe, &own, &parents)?),
        None => (false, false),
    };
    Ok(Seen {
        process: (peer, since(peer)?),
        executable: executable_file(peer)?,
        tracer: Status::of(peer)?.tracer,
        mounts: namespace(peer, Namespace::Mount)?,
        started_above: parents.get(&peer).is_some_and(|parent| is_in(*parent, &own)),
        stdin,
        init: (init, since(init)?),
        init_mounts: namespace(init, Namespace::Mount)?,
        init_is_apart: namespace(init, Namespace::Pid)? != own,
        init_pipes: (0..=2).filter_map(init_pipe).collect(),
        written_inside,
        written_above,
    })
}

fn own_number() -> i32 {
    i32::try_from(std::process::id()).unwrap_or_default()
}

fn since(process: i32) -> Result<u64, Error> {
    let gone = || Error { path: format!("/proc/{process}/stat"), source: io::ErrorKind::NotFound.into() };
    started(process).ok_or_else(gone)
}

fn is_in(process: i32, own: &NamespaceId) -> bool {
    namespace(process, Namespace::Pid).is_ok_and(|other| other == *own)
}

/// Whether a process can write to the pipe. Each thread may have descriptors of its own; one that is gone has none.
fn writes(process: i32, pipe: u64) -> bool {
    threads(process).unwrap_or_default().into_iter().any(|tid| writes_to(tid, pipe).unwrap_or(false))
}

/// Whether a process of any other PID namespace than the reader's can write to the pipe.
fn written_inside(pipe: u64, own: &NamespaceId) -> Result<bool, Error> {
    let inside = |process: &i32| namespace(*process, Namespace::Pid).is_ok_and(|other| other != *own);
    Ok(processes()?.into_iter().filter(inside).any(|process| writes(process, pipe)))
}

/// Whether a process above `peer` can write to the pipe that is in the reader's PID namespace and in no pod.
fn written_above(
    peer: i32,
    pipe: u64,
    own: &NamespaceId,
    parents: &BTreeMap<i32, i32>,
) -> Result<bool, Error> {
    let first = control_groups(1)?;
    let outside = |process: &i32| {
        is_in(*process, own) && control_groups(*process).is_ok_and(|groups| outside_of_pods(&groups, &first))
    };
    Ok(above(parents, peer).into_iter().filter(outside).any(|process| writes(process, pipe)))
}

/// All processes above one, the nearest first.
fn above(parents: &BTreeMap<i32, i32>, process: i32) -> Vec<i32> {
    let mut above = Vec::new();
    let mut at = process;
    // What was read while processes ended may go in a circle.
    while let Some(parent) = parents.get(&at).filter(|parent| **parent > 0 && !above.contains(*parent)) {
        above.push(*parent);
        at = *parent;
    }
    above
}

#[cfg(test)]
mod tests {
    use super::above;

    #[test]
    fn the_way_up_ends_at_the_top_and_in_no_circle() {
        let parents = [(9, 5), (5, 2), (2, 1), (1, 0), (7, 8), (8, 7)].into();
        assert_eq!(above(&parents, 9), [5, 2, 1]);
        assert_eq!(above(&parents, 7), [8, 7]);
        assert!(above(&parents, 42).is_empty());
    }
}
