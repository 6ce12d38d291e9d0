//! What a run leaves when it is killed half-way, found by the name it bears and taken away by the next run.
//! Nothing of a run that is still at work is touched.

use std::{fs, path::Path, process::Command, time::Duration};

use super::{
    eventually::{eventually, holds},
    kubectl::Kubectl,
    process,
};

/// Marks namespaces with the run that they belong to.
pub(crate) const LABEL: &str = "ksync-suite";
const PREFIX: &str = "ksync-suite-";
const LIMIT: Duration = Duration::from_secs(10);

fn machine() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect()
}

/// This run, as a label's value.
pub(crate) fn owner() -> String {
    format!("m{}-{}", machine(), std::process::id())
}

/// The beginning of the name of a directory of this run.
pub(crate) fn prefix(what: &str) -> String {
    format!("{PREFIX}{}-{what}-", std::process::id())
}

/// Takes away what dead runs of this machine left.
pub(crate) fn sweep(kubectl: &Kubectl) {
    let columns = format!("custom-columns=:metadata.name,:metadata.labels.{LABEL}");
    let found = kubectl.ok(&["get", "namespaces", "-l", LABEL, "-o", &columns, "--no-headers"]);
    for line in found.lines() {
        let dead = |owner: &str| {
            let (machine_of, pid) = owner.rsplit_once('-')?;
            Some(machine_of == format!("m{}", machine()) && !process::lives(pid.parse().ok()?))
        };
        if let Some((name, owner)) = line.split_once(char::is_whitespace)
            && dead(owner.trim()) == Some(true)
        {
            kubectl.ok(&["delete", "namespace", name, "--wait=false"]);
        }
    }
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
        if pid.is_some_and(|pid| !process::lives(pid)) {
            kill_all(&process::of_home(&entry.path()));
            unmount_below(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Disks of a dead run's own; the one that was mounted last goes first.
fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for place in
        places.filter(|place| Path::new(place).starts_with(dir)).collect::<Vec<_>>().into_iter().rev()
    {
        // What is busy stays, and the directory with it.
        let _ = Command::new("umount").arg("--lazy").arg(place).status();
    }
}

fn kill_all(processes: &[process::Process]) {
    for process in processes {
        process::kill(process.pid);
    }
}

/// Says which processes of a directory are still there after a while, and ends them.
pub(crate) fn end_processes(dir: &Path) -> Result<(), String> {
    let gone = std::panic::catch_unwind(|| {
        eventually("processes to end", LIMIT, || {
            let left = process::of_home(dir);
            holds(left.is_empty(), format!("{left:?}"))
        });
    });
    let left = process::of_home(dir);
    kill_all(&left);
    gone.map_err(|_| format!("processes were left behind: {left:?}"))
}
