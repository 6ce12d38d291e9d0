//! The processes above one.
//!
//! Invariant: the way up is one that was whole at one moment. A runtime's own program ends as soon as it has started what it
//! was to start, and the shim is the parent from then on: what was read in between is read again.

use std::{
    io,
    time::{Duration, Instant},
};

use ksync_procfs::{Error, Namespace, NamespaceId, namespace, parent, started};

/// How long a way up may change all the time.
const LIMIT: Duration = Duration::from_secs(2);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ancestor {
    /// The process, and when it was started.
    pub(crate) process: (i32, u64),
    /// Its PID namespace; none where the reader may not know.
    pub(crate) namespace: Option<NamespaceId>,
}

impl Ancestor {
    pub(crate) fn is_in(&self, namespace: &NamespaceId) -> bool {
        self.namespace.as_ref() == Some(namespace)
    }
}

/// All processes above one, the nearest first, up to the top of the reader's PID namespace.
pub(crate) fn above(process: i32) -> Result<Vec<Ancestor>, Error> {
    let begun = Instant::now();
    let mut before = once(process);
    loop {
        let now = once(process);
        match (before, now) {
            (Some(before), Some(now)) if before == now => return Ok(now),
            (_, now) if begun.elapsed() < LIMIT => before = now,
            _ => {
                let source = io::Error::new(io::ErrorKind::TimedOut, "its parents change all the time");
                return Err(Error { path: format!("/proc/{process}/stat"), source });
            }
        }
        std::thread::yield_now();
    }
}

/// None when one of them has ended meanwhile.
fn once(process: i32) -> Option<Vec<Ancestor>> {
    let mut above: Vec<Ancestor> = Vec::new();
    let mut at = process;
    loop {
        // 0 is what has its parent in no namespace of the reader's, or none at all.
        let next = parent(at)?;
        if next == 0 {
            return Some(above);
        }
        let namespace = match namespace(next, Namespace::Pid) {
            Ok(namespace) => Some(namespace),
            Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => None,
            Err(_) => return None,
        };
        let ancestor = Ancestor { process: (next, started(next)?), namespace };
        // What was read while processes ended may go in a circle.
        if above.contains(&ancestor) {
            return None;
        }
        above.push(ancestor);
        at = next;
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::above;

    #[test]
    fn the_way_up_is_from_the_parent_to_the_top() {
        let me = i32::try_from(std::process::id()).unwrap();
        let above = above(me).unwrap();
        let numbers: Vec<i32> = above.iter().map(|ancestor| ancestor.process.0).collect();
        assert_eq!(
            numbers.first().copied(),
            Some(i32::try_from(std::os::unix::process::parent_id()).unwrap())
        );
        assert!(!numbers.contains(&me), "{numbers:?}");
        assert_eq!(ksync_procfs::parent(*numbers.last().unwrap()), Some(0), "{numbers:?}");
        assert!(super::above(i32::MAX).is_err());
    }
}
