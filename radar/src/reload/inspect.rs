//! A container's main process as `/proc` shows it (proc_pid_status(5)), and whether it still has the privileges that
//! it was started with.
//!
//! Invariant: reading changes nothing, and what is decided is decided from plain data.

use std::{collections::BTreeSet, fs, io};

use crate::container::runtime::record::Record;

/// What `/proc/PID/status` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// First 15 bytes of the program's name.
    pub(super) name: String,
    /// A letter.
    pub(super) state: char,
    pub(super) parent: i32,
    /// Who traces it; 0 for nobody.
    pub(super) tracer: i32,
    /// As the innermost PID namespace numbers it.
    pub(super) inner: i32,
    /// Real, effective, saved and file system user.
    pub(super) uids: [u32; 4],
    pub(super) gids: [u32; 4],
    pub(super) groups: BTreeSet<u32>,
    /// Signals with a handler, bit 0 for signal 1.
    pub(super) caught: u64,
    /// Capabilities, bit 0 for CAP_CHOWN.
    pub(super) permitted: u64,
    pub(super) bounding: u64,
    pub(super) no_new_privileges: bool,
    /// Number of seccomp filters; 0 where the kernel does not tell.
    pub(super) filters: u32,
}

impl Status {
    /// Of a process or thread.
    pub(super) fn of(tid: i32) -> io::Result<Self> {
        fs::read_to_string(format!("/proc/{tid}/status")).map(|text| Self::read(&text))
    }

    fn read(text: &str) -> Self {
        let mut status = Self { state: '?', ..Self::default() };
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            let number = || value.parse().unwrap_or_default();
            let set = || u64::from_str_radix(value, 16).unwrap_or_default();
            let numbers = || value.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
            let four = || {
                let mut four = [0; 4];
                four.iter_mut().zip(numbers()).for_each(|(place, id)| *place = id);
                four
            };
            match key {
                "Name" => value.clone_into(&mut status.name),
                "State" => status.state = value.chars().next().unwrap_or('?'),
                "PPid" => status.parent = number(),
                "TracerPid" => status.tracer = number(),
                "NSpid" => {
                    let last = value.split_whitespace().next_back();
                    status.inner = last.and_then(|pid| pid.parse().ok()).unwrap_or_default();
                }
                "Uid" => status.uids = four(),
                "Gid" => status.gids = four(),
                "Groups" => status.groups = numbers().collect(),
                "SigCgt" => status.caught = set(),
                "CapPrm" => status.permitted = set(),
                "CapBnd" => status.bounding = set(),
                "NoNewPrivs" => status.no_new_privileges = value == "1",
                "Seccomp_filters" => status.filters = numbers().next().unwrap_or_default(),
                _ => {}
            }
        }
        status
    }

    /// Number and name, as a person in the container sees them.
    pub(super) fn shown(&self) -> String {
        format!("process {} `{}`", self.inner, self.name)
    }
}

/// A thread of the process that lives: its first one, or another where that one has ended. None when all have.
pub(super) fn living_thread(process: i32) -> Option<i32> {
    let lives = |tid: i32| Status::of(tid).is_ok_and(|status| !matches!(status.state, 'Z' | 'X'));
    if lives(process) {
        return Some(process);
    }
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|tid| lives(*tid))
}

/// What a process was started with, and what can't be told from its status.
pub(super) struct Beginning<'r> {
    pub(super) record: &'r Record,
    /// The recorded user and group by number.
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seccomp filters of the process that started the container.
    pub(super) filters: u32,
}

/// What else a process may have left behind, from `/proc/PID/root` and `/proc/PID/ns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Its root directory, as its mount namespace names it.
    pub(super) root: String,
    /// Whether its user namespace is that of the process that started it.
    pub(super) same_user: bool,
    /// Whether its children are in its own PID namespace.
    pub(super) same_pid: bool,
}

impl Place {
    pub(super) fn of(tid: i32, parent: i32) -> io::Result<Self> {
        let link = |path: String| fs::read_link(path).map(|link| link.to_string_lossy().into_owned());
        let namespace = |tid: i32, name: &str| link(format!("/proc/{tid}/ns/{name}"));
        Ok(Self {
            root: link(format!("/proc/{tid}/root"))?,
            same_user: namespace(tid, "user")? == namespace(parent, "user")?,
            same_pid: namespace(tid, "pid")? == namespace(tid, "pid_for_children")?,
        })
    }
}

/// Which of the privileges that it was started with a process has dropped since; none when it has them all. What it
/// has beyond them is not asked: a program with capabilities of its own gets them again.
pub(super) fn dropped(status: &Status, place: &Place, begun: &Beginning<'_>) -> Option<&'static str> {
    let record = begun.record;
    // What an execve makes of the recorded sets (capabilities(7)).
    let permitted = match (begun.uid, record.bounding) {
        (0, bounding) => bounding.unwrap_or_default() | record.inheritable,
        _ => record.ambient,
    };
    let filters = begun.filters + u32::from(record.filtered);
    [
        ("its user", status.uids != [begun.uid; 4]),
        ("its group", status.gids != [begun.gid; 4]),
        ("its groups", record.groups.iter().any(|gid| *gid != begun.gid && !status.groups.contains(gid))),
        ("capabilities", permitted & !status.permitted != 0),
        ("capabilities", record.bounding.unwrap_or_default() & !status.bounding != 0),
        ("the right to new privileges", status.no_new_privileges && !record.no_new_privileges),
        ("system calls", status.filters > filters),
        ("its root directory", place.root != "/"),
        ("its namespaces", !place.same_user || !place.same_pid),
    ]
    .into_iter()
    .find_map(|(what, dropped)| dropped.then_some(what))
}

#[cfg(test)]
mod tests {
    use super::{Beginning, Place, Status, dropped};
    use crate::container::runtime::record::{Record, User};

    const TEXT: &str = "Name:\tmy app\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t70\nPid:\t70\nPPid:\t60\nTracerPid:\t9\n\
        Uid:\t0\t1\t0\t0\nGid:\t2\t2\t2\t3\nGroups:\t7 10 \nNSpid:\t70\t1\nSigCgt:\t0000000000004001\n\
        CapPrm:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

    #[test]
    fn a_status_is_read() {
        let status = Status::read(TEXT);
        assert_eq!(
            (status.name.as_str(), status.state, status.parent, status.tracer),
            ("my app", 'S', 60, 9)
        );
        assert_eq!((status.uids, status.gids, status.inner), ([0, 1, 0, 0], [2, 2, 2, 3], 1));
        assert_eq!((status.groups.clone(), status.caught), ([7, 10].into(), 0x4001));
        assert!(status.no_new_privileges && status.filters == 3 && status.permitted == 0xa804_25fb);
        assert_eq!(status.shown(), "process 1 `my app`");
    }

    #[test]
    fn each_dropped_privilege_is_found() {
        let record = Record {
            args: vec!["/entry".into()],
            env: Vec::new(),
            cwd: "/".into(),
            umask: 0o022,
            user: User::Ids { uid: 0, gid: 0 },
            groups: vec![0, 7],
            bounding: Some(0b1110),
            inheritable: 0,
            ambient: 0,
            no_new_privileges: false,
            filtered: true,
        };
        let whole = Status {
            groups: [7].into(),
            permitted: 0b1_1110,
            bounding: 0b1110,
            filters: 2,
            ..Status::default()
        };
        let home = Place { root: "/".into(), same_user: true, same_pid: true };
        let of = |status: &Status, place: &Place| {
            dropped(status, place, &Beginning { record: &record, uid: 0, gid: 0, filters: 1 })
        };
        assert_eq!(of(&whole, &home), None);
        let cases = [
            (Status { uids: [1000; 4], ..whole.clone() }, "its user"),
            (Status { uids: [0, 1000, 0, 1000], ..whole.clone() }, "its user"),
            (Status { gids: [1000; 4], ..whole.clone() }, "its group"),
            (Status { groups: [].into(), ..whole.clone() }, "its groups"),
            (Status { permitted: 0b0110, ..whole.clone() }, "capabilities"),
            (Status { bounding: 0b0110, ..whole.clone() }, "capabilities"),
            (Status { no_new_privileges: true, ..whole.clone() }, "the right to new privileges"),
            (Status { filters: 3, ..whole.clone() }, "system calls"),
        ];
        for (status, what) in cases {
            assert_eq!(of(&status, &home), Some(what), "{status:?}");
        }
        for place in [
            Place { root: "/srv".into(), ..home.clone() },
            Place { same_user: false, ..home.clone() },
            Place { same_pid: false, ..home.clone() },
        ] {
            assert!(of(&whole, &place).is_some(), "{place:?}");
        }
    }

    #[test]
    fn another_user_than_root_begins_with_the_ambient_capabilities_only() {
        let record = Record {
            args: vec!["/app".into()],
            env: Vec::new(),
            cwd: "/".into(),
            umask: 0o022,
            user: User::Ids { uid: 1000, gid: 1000 },
            groups: Vec::new(),
            bounding: Some(0b11),
            inheritable: 0,
            ambient: 0,
            no_new_privileges: true,
            filtered: false,
        };
        let status = Status {
            uids: [1000; 4],
            gids: [1000; 4],
            bounding: 0b11,
            no_new_privileges: true,
            ..Status::default()
        };
        let home = Place { root: "/".into(), same_user: true, same_pid: true };
        let begun = Beginning { record: &record, uid: 1000, gid: 1000, filters: 0 };
        assert_eq!(dropped(&status, &home, &begun), None);
        let ambient = Record { ambient: 0b1, ..record.clone() };
        assert_eq!(dropped(&status, &home, &Beginning { record: &ambient, ..begun }), Some("capabilities"));
    }
}
