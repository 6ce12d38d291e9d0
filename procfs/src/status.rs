//! `/proc/PID/status` (proc_pid_status(5)): whose a process is and what it may do.

use std::collections::BTreeSet;

use crate::{error::Error, read, state::State};

/// Mode of secure computing (seccomp(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// By nothing; also where the kernel has no seccomp.
    #[default]
    Off,
    /// To read, write, and its end.
    Strict,
    /// By filters; also whatever a newer kernel has.
    Filter,
}

impl Seccomp {
    fn parse(value: &str) -> Self {
        match value {
            "0" => Self::Off,
            "1" => Self::Strict,
            _ => Self::Filter,
        }
    }
}

/// Fields that the kernel did not write are zero or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// First 15 bytes of the program's name.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Number of its parent.
    pub parent: i32,
    /// Number of the process that traces it; 0 for nobody.
    pub tracer: i32,
    /// Its own number, as the innermost PID namespace has it.
    pub inner: i32,
    /// Real, effective, saved and file system user.
    pub uids: [u32; 4],
    /// Real, effective, saved and file system group.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: BTreeSet<u32>,
    /// Signals with a handler, bit 0 for signal 1.
    pub caught: u64,
    /// Signals that are ignored, bit 0 for signal 1; none where the kernel does not tell.
    pub ignored: Option<u64>,
    /// Permitted capabilities, bit 0 for CAP_CHOWN (capabilities(7)).
    pub permitted: u64,
    /// Effective capabilities.
    pub effective: u64,
    /// The capability bounding set.
    pub bounding: u64,
    /// Whether no execve gives it new privileges.
    pub no_new_privileges: bool,
    /// What its system calls are restricted by.
    pub seccomp: Seccomp,
    /// Number of seccomp filters; 0 where the kernel does not tell.
    pub filters: u32,
}

impl Status {
    /// Of a process or thread.
    pub fn of(tid: i32) -> Result<Self, Error> {
        read::text(&format!("/proc/{tid}/status")).map(|text| Self::parse(&text))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            let number = || value.parse().unwrap_or_default();
            let set = || u64::from_str_radix(value, 16).ok();
            let numbers = || value.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
            let four = || {
                let mut four = [0; 4];
                four.iter_mut().zip(numbers()).for_each(|(place, id)| *place = id);
                four
            };
            match key {
                "Name" => value.clone_into(&mut status.name),
                "State" => status.state = State::parse(value),
                "PPid" => status.parent = number(),
                "TracerPid" => status.tracer = number(),
                "NSpid" => {
                    let last = value.split_whitespace().next_back();
                    status.inner = last.and_then(|pid| pid.parse().ok()).unwrap_or_default();
                }
                "Uid" => status.uids = four(),
                "Gid" => status.gids = four(),
                "Groups" => status.groups = numbers().collect(),
                "SigCgt" => status.caught = set().unwrap_or_default(),
                "SigIgn" => status.ignored = set(),
                "CapPrm" => status.permitted = set().unwrap_or_default(),
                "CapEff" => status.effective = set().unwrap_or_default(),
                "CapBnd" => status.bounding = set().unwrap_or_default(),
                "NoNewPrivs" => status.no_new_privileges = value == "1",
                "Seccomp" => status.seccomp = Seccomp::parse(value),
                "Seccomp_filters" => status.filters = numbers().next().unwrap_or_default(),
                _ => {}
            }
        }
        status
    }

    /// The effective user.
    pub fn effective_uid(&self) -> u32 {
        self.uids[1]
    }

    /// The effective group.
    pub fn effective_gid(&self) -> u32 {
        self.gids[1]
    }

    /// Number and name, as a person in the container sees them: "process 1 `app`".
    pub fn shown(&self) -> String {
        format!("process {} `{}`", self.inner, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Seccomp, State, Status};

    const TEXT: &str = "Name:\tmy app\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t70\nPid:\t70\nPPid:\t60\nTracerPid:\t9\n\
        Uid:\t0\t1\t0\t0\nGid:\t2\t2\t2\t3\nGroups:\t7 10 \nNSpid:\t70\t1\nSigIgn:\t0000000000001000\n\
        SigCgt:\t0000000000004001\nCapPrm:\t00000000a80425fb\nCapEff:\t0000000000000005\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t3\n";

    #[test]
    fn a_status_is_read() {
        let status = Status::parse(TEXT);
        assert_eq!(
            (status.name.as_str(), status.state, status.parent, status.tracer),
            ("my app", State::Sleeping, 60, 9)
        );
        assert_eq!((status.uids, status.gids, status.inner), ([0, 1, 0, 0], [2, 2, 2, 3], 1));
        assert_eq!((status.groups.clone(), status.caught), ([7, 10].into(), 0x4001));
        let modes = ["0", "1", "2"].map(|mode| Status::parse(&format!("Seccomp:\t{mode}\n")).seccomp);
        assert_eq!(modes, [Seccomp::Off, Seccomp::Strict, Seccomp::Filter]);
        assert_eq!((status.seccomp, Status::parse("").seccomp), (Seccomp::Filter, Seccomp::Off));
        assert!(status.no_new_privileges && status.filters == 3 && status.permitted == 0xa804_25fb);
        assert_eq!((status.ignored, Status::parse("").ignored), (Some(0x1000), None));
        assert_eq!(status.effective, 5);
        assert_eq!(status.shown(), "process 1 `my app`");
    }

    #[test]
    fn the_user_is_the_effective_one() {
        let user_of = |text: &str| {
            let status = Status::parse(text);
            (status.effective_uid(), status.effective_gid())
        };
        assert_eq!(user_of("Name:\tx\nUid:\t0\t1000\t0\t0\nGid:\t0\t1001\t0\t0\n"), (1000, 1001));
        assert_eq!(user_of(""), (0, 0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_name_that_was_cut_inside_a_character_hides_nothing() {
        let (tid_tx, tid_rx) = std::sync::mpsc::channel();
        let (seen_tx, seen_rx) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            std::fs::write("/proc/thread-self/comm", "fourteen bytesö").unwrap();
            tid_tx.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            seen_rx.recv().unwrap();
        });
        let status = Status::of(tid_rx.recv().unwrap()).unwrap();
        seen_tx.send(()).unwrap();
        thread.join().unwrap();
        assert_eq!((status.name.as_str(), status.parent > 0), ("fourteen bytes\u{fffd}", true));
    }

    #[test]
    fn no_text_breaks_it() {
        ksync_mangle::each_text(&[TEXT], |text| {
            let status = Status::parse(text);
            assert!(status.name.len() <= text.len());
        });
    }
}
