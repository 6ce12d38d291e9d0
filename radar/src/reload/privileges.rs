//! Whether a container's main process still has the privileges that its runtime started it with.
//!
//! Invariant: reading changes nothing, and what is decided is decided from plain data.

use std::path::{Path, PathBuf};

use ksync_procfs::{IdMaps, IdRange, Namespace, Status};

use crate::container::runtime::record::Record;

/// What a process was started with, and what can't be told from its status.
pub(super) struct Beginning<'r> {
    pub(super) record: &'r Record,
    /// The recorded user and group by number.
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seccomp filters of the process that started the container.
    pub(super) filters: u32,
}

/// What a process sees of the system, as far as it may have changed that itself (chroot(2), unshare(2)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Isolation {
    /// Its root directory, as its mount namespace names it.
    pub(super) root: PathBuf,
    /// Whether its user namespace is that of the process that started it.
    pub(super) in_parents_user_namespace: bool,
    /// How users are numbered in its user namespace, sorted.
    pub(super) users: Vec<IdRange>,
    /// Whether its children are in its own PID namespace.
    pub(super) children_in_own_pid_namespace: bool,
}

impl Isolation {
    pub(super) fn of(tid: i32, parent: i32) -> Result<Self, ksync_procfs::Error> {
        let namespace = ksync_procfs::namespace;
        Ok(Self {
            root: ksync_procfs::root(tid)?,
            in_parents_user_namespace: namespace(tid, Namespace::User)?
                == namespace(parent, Namespace::User)?,
            users: IdMaps::of(tid)?.users().to_vec(),
            children_in_own_pid_namespace: namespace(tid, Namespace::Pid)?
                == namespace(tid, Namespace::PidForChildren)?,
        })
    }
}

/// Which of the privileges that it was started with a process has dropped since; none when it has them all. What it
/// has beyond them is not asked: a program with capabilities of its own gets them again.
pub(super) fn dropped(status: &Status, isolation: &Isolation, begun: &Beginning<'_>) -> Option<&'static str> {
    let record = begun.record;
    // What an execve makes of the recorded sets (capabilities(7)).
    let permitted = match (begun.uid, record.bounding) {
        (0, bounding) => bounding.unwrap_or_default() | record.inheritable,
        _ => record.ambient,
    };
    let filters = begun.filters + u32::from(record.filtered);
    // One that it makes for itself numbers users otherwise than the one that its runtime made.
    let in_its_user_namespace = match record.users.as_slice() {
        [] => isolation.in_parents_user_namespace,
        given => given == isolation.users,
    };
    [
        ("its user", status.uids != [begun.uid; 4]),
        ("its group", status.gids != [begun.gid; 4]),
        ("its groups", record.groups.iter().any(|gid| *gid != begun.gid && !status.groups.contains(gid))),
        ("capabilities", permitted & !status.permitted != 0),
        ("capabilities", record.bounding.unwrap_or_default() & !status.bounding != 0),
        ("the right to new privileges", status.no_new_privileges && !record.no_new_privileges),
        ("system calls", status.filters > filters),
        ("its root directory", isolation.root != Path::new("/")),
        ("its namespaces", !in_its_user_namespace),
        ("its namespaces", !isolation.children_in_own_pid_namespace),
    ]
    .into_iter()
    .find_map(|(what, dropped)| dropped.then_some(what))
}

#[cfg(test)]
mod tests {
    use ksync_procfs::{IdRange, Status};

    use super::{Beginning, Isolation, dropped};
    use crate::container::runtime::record::{Record, User};

    fn unchanged() -> Isolation {
        Isolation {
            root: "/".into(),
            in_parents_user_namespace: true,
            users: Vec::new(),
            children_in_own_pid_namespace: true,
        }
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
            users: Vec::new(),
        };
        let whole = Status {
            groups: [7].into(),
            permitted: 0b1_1110,
            bounding: 0b1110,
            filters: 2,
            ..Status::default()
        };
        let home = unchanged();
        let of = |status: &Status, isolation: &Isolation| {
            dropped(status, isolation, &Beginning { record: &record, uid: 0, gid: 0, filters: 1 })
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
        for isolation in [
            Isolation { root: "/srv".into(), ..home.clone() },
            Isolation { in_parents_user_namespace: false, ..home.clone() },
            Isolation { children_in_own_pid_namespace: false, ..home.clone() },
        ] {
            assert!(of(&whole, &isolation).is_some(), "{isolation:?}");
        }
        let users = |outside| vec![IdRange { inside: 0, outside, count: 65536 }];
        let given = Record { users: users(100_000), ..record.clone() };
        let apart = Isolation { in_parents_user_namespace: false, users: users(100_000), ..home.clone() };
        let begun = Beginning { record: &given, uid: 0, gid: 0, filters: 1 };
        assert_eq!(dropped(&whole, &apart, &begun), None, "its pod's user namespace");
        let deeper = Isolation { in_parents_user_namespace: false, users: users(101_000), ..home };
        assert_eq!(dropped(&whole, &deeper, &begun), Some("its namespaces"), "one of its own below that");
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
            users: Vec::new(),
        };
        let status = Status {
            uids: [1000; 4],
            gids: [1000; 4],
            bounding: 0b11,
            no_new_privileges: true,
            ..Status::default()
        };
        let home = unchanged();
        let begun = Beginning { record: &record, uid: 1000, gid: 1000, filters: 0 };
        assert_eq!(dropped(&status, &home, &begun), None);
        let ambient = Record { ambient: 0b1, ..record.clone() };
        assert_eq!(dropped(&status, &home, &Beginning { record: &ambient, ..begun }), Some("capabilities"));
    }
}
