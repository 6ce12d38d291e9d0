//! A container's first process as /proc shows it: what must change when it executes another program, and what must not.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{cluster::Cluster, container::Container};

/// What is seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Init {
    pub(crate) pid: u32,
    /// Where the kernel has put things at random: different in each program that was ever executed.
    program: Vec<u8>,
    /// What a fresh start has.
    pub(crate) start: Start,
}

/// What a program finds at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) arguments: String,
    environment: BTreeSet<String>,
    dir: PathBuf,
    /// Users, groups, capabilities, signals, filters, and the file mode creation mask.
    pub(crate) status: Vec<String>,
    /// Standard streams.
    streams: Vec<PathBuf>,
}

/// Lines of `/proc/PID/status` that a program finds as they are and does not change by itself.
const KEPT: &[&str] = &[
    "Umask",
    "TracerPid",
    "Uid",
    "Gid",
    "Groups",
    "SigIgn",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
];

/// A line of the status, without what comes from whoever started the runtime: glibc's own signals (32 and 33), which that
/// process may have ignored.
fn plain(line: &str) -> String {
    let Some(mask) = line.strip_prefix("SigIgn:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
    else {
        return line.to_owned();
    };
    format!("SigIgn:\t{:016x}", mask & !(0b11 << 31))
}

impl Init {
    pub(crate) fn of(cluster: &dyn Cluster, container: &Container) -> Result<Self, String> {
        let pid = container.pid(cluster)?;
        let at = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let shown = |path: &Path| format!("read `{}` of {container}", path.display());
        let read = |name: &str| fs::read(at(name)).map_err(|error| format!("{}: {error}", shown(&at(name))));
        let link =
            |name: &str| fs::read_link(at(name)).map_err(|error| format!("{}: {error}", shown(&at(name))));
        let text = |name: &str| read(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let status = text("status")?;
        let kept = status.lines().filter(|line| KEPT.iter().any(|key| line.split(':').next() == Some(key)));
        Ok(Self {
            pid,
            program: read("auxv")?,
            start: Start {
                arguments: text("cmdline")?.trim_end_matches('\0').replace('\0', " "),
                environment: text("environ")?.split('\0').map(str::to_owned).collect(),
                dir: link("cwd")?,
                status: kept.map(plain).collect(),
                streams: ["fd/0", "fd/1", "fd/2"].into_iter().map(link).collect::<Result<_, _>>()?,
            },
        })
    }

    /// Whether `later` is the same process running another program.
    pub(crate) fn was_replaced_by(&self, later: &Self) -> bool {
        self.pid == later.pid && self.program != later.program
    }
}
