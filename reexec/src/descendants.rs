//! The processes that descend from a process, and their end.
//!
//! Invariant: only descendants are touched, each through a pidfd that was opened before its descent was verified. What
//! came into the process's namespaces from outside (somebody's shell) descends from another process and lives on.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::OwnedFd,
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// All that descend from `ancestor`, without it.
fn below(parents: &BTreeMap<i32, i32>, ancestor: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([ancestor]);
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            found.remove(&ancestor);
            return found;
        }
        found.extend(more);
    }
}

/// The living descendants of a process.
pub(crate) fn of(ancestor: i32) -> io::Result<BTreeSet<i32>> {
    Ok(below(&ksync_procfs::parents()?, ancestor))
}

/// Ends all descendants of `ancestor`, whose own threads are held; returns how many, or none when the deadline came
/// first. A second look finds what was started during the first.
pub(crate) fn end(ancestor: i32, deadline: Instant) -> io::Result<Option<usize>> {
    let mut ended = 0;
    loop {
        let held = stop(ancestor)?;
        if held.is_empty() {
            return Ok(Some(ended));
        }
        for fd in &held {
            send(fd, Signal::KILL)?;
        }
        for fd in &held {
            if !wait(fd, deadline)? {
                return Ok(None);
            }
        }
        ended += held.len();
    }
}

/// Stops descendants until a look finds no further one: a process that is killed before its children are known loses
/// them to another parent.
fn stop(ancestor: i32) -> io::Result<Vec<OwnedFd>> {
    let mut held: BTreeMap<i32, OwnedFd> = BTreeMap::new();
    loop {
        let fresh: Vec<i32> = of(ancestor)?.into_iter().filter(|pid| !held.contains_key(pid)).collect();
        if fresh.is_empty() {
            return Ok(held.into_values().collect());
        }
        for pid in fresh {
            if let Some(fd) = open(pid)?
                && of(ancestor)?.contains(&pid)
            {
                send(&fd, Signal::STOP)?;
                held.insert(pid, fd);
            }
        }
    }
}

fn open(pid: i32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn send(fd: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(fd, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits for a process's end; whether it came before the deadline.
fn wait(fd: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    use super::{below, end, of};

    #[test]
    fn only_those_below_are_found() {
        let parents = [(1, 0), (5, 1), (6, 5), (7, 6), (8, 1), (9, 8)].into();
        assert_eq!(below(&parents, 5), [6, 7].into());
        assert_eq!(below(&parents, 9), [].into());
    }

    /// A shell with a child and a grandchild, ready.
    fn tree() -> Child {
        let mut child = Command::new("sh")
            .args(["-c", "(sleep 1000 & echo ready; wait) & wait; echo lives; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.as_mut().unwrap();
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).unwrap();
        child
    }

    #[test]
    fn all_below_end_and_nobody_else() {
        let (mut one, mut other) = (tree(), tree());
        let pid = |child: &Child| i32::try_from(child.id()).unwrap();
        assert_eq!(of(pid(&one)).unwrap().len(), 2);
        assert_eq!(end(pid(&one), Instant::now() + Duration::from_secs(5)).unwrap(), Some(2));
        assert_eq!(of(pid(&one)).unwrap().len(), 0);
        assert_eq!(of(pid(&other)).unwrap().len(), 2);
        let mut line = String::new();
        BufReader::new(one.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "lives\n");
        end(pid(&other), Instant::now() + Duration::from_secs(5)).unwrap();
        for child in [&mut one, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
