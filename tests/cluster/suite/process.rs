//! Processes of this machine, as /proc shows them.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually::{LONG, eventually};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) command: String,
}

/// Every process that has `home` as its KSYNC_HOME or among its arguments, so the watcher and its syncthing.
pub(crate) fn of_home(home: &Path) -> Vec<Process> {
    let home = home.as_os_str().as_bytes();
    let set = [b"KSYNC_HOME=", home].concat();
    let ours = |pid: u32| {
        let (Ok(environ), Ok(cmdline)) =
            (fs::read(format!("/proc/{pid}/environ")), fs::read(format!("/proc/{pid}/cmdline")))
        else {
            return false; // it has ended
        };
        let has = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|window| window == part);
        environ.split(|byte| *byte == 0).any(|word| word.starts_with(&set)) || has(&cmdline, home)
    };
    pids().filter(|pid| *pid != std::process::id() && ours(*pid)).filter_map(describe).collect()
}

/// The one syncthing of `parent`, which may just be starting.
#[track_caller]
pub(crate) fn only_syncthing(parent: u32) -> Process {
    eventually("one syncthing", LONG, || {
        let mut all = syncthings(parent);
        if all.len() == 1 { Ok(all.remove(0)) } else { Err(format!("{:?}", children(parent))) }
    })
}

/// The syncthings of `parent`.
pub(crate) fn syncthings(parent: u32) -> Vec<Process> {
    children(parent).into_iter().filter(|child| child.command.contains("serve --home")).collect()
}

/// What runs as a child of `parent`.
pub(crate) fn children(parent: u32) -> Vec<Process> {
    pids().filter(|pid| parent_of(*pid) == Some(parent)).filter_map(describe).collect()
}

/// Ends one at once.
pub(crate) fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    // It may have ended by itself; then that is what was wanted.
    let _ = kill_process(pid, Signal::KILL);
}

/// Has one stand still, or go on.
pub(crate) fn stand_still(pid: u32, still: bool) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, if still { Signal::STOP } else { Signal::CONT }).expect("signal the process");
}

pub(crate) fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("read /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn describe(pid: u32) -> Option<Process> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    lives(pid).then_some(Process { pid, command })
}

/// The fields of `/proc/PID/stat` after the command's name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

fn parent_of(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}
