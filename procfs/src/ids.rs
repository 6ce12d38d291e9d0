//! How the users and groups of a user namespace are numbered outside of it: `/proc/PID/uid_map` and `/proc/PID/gid_map`
//! (user_namespaces(7)).

use crate::{error::Error, read, status::Status};

/// The numbers of a process's user namespace, as this process's namespace has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    users: Vec<IdRange>,
    groups: Vec<IdRange>,
}

/// A line: so many numbers in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRange {
    /// The first one in the namespace.
    pub inside: u32,
    /// What that is outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl IdMaps {
    /// Of a process.
    pub fn of(pid: i32) -> Result<Self, Error> {
        let map = |name| read::text(&format!("/proc/{pid}/{name}")).map(|text| parse(&text));
        Ok(Self { users: map("uid_map")?, groups: map("gid_map")? })
    }

    /// How users are numbered, sorted.
    pub fn users(&self) -> &[IdRange] {
        &self.users
    }

    /// The number of a user in the namespace, from the number outside; none where the namespace does not know it.
    pub fn user_inside(&self, outside: u32) -> Option<u32> {
        inside(&self.users, outside)
    }

    /// The number outside of a user of the namespace.
    pub fn user_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.users, inside)
    }

    /// The number outside of a group of the namespace.
    pub fn group_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.groups, inside)
    }

    /// The number of a group in the namespace, from the number outside.
    pub fn group_inside(&self, outside: u32) -> Option<u32> {
        inside(&self.groups, outside)
    }

    /// A status with the numbers that the process itself knows. What the namespace does not know keeps its number.
    #[must_use]
    pub fn inside(&self, status: &Status) -> Status {
        let user = |id: u32| self.user_inside(id).unwrap_or(id);
        let group = |id: u32| self.group_inside(id).unwrap_or(id);
        Status {
            uids: status.uids.map(user),
            gids: status.gids.map(group),
            groups: status.groups.iter().copied().map(group).collect(),
            ..status.clone()
        }
    }
}

/// Lines of three numbers: the first inside, the first outside, how many.
fn parse(text: &str) -> Vec<IdRange> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(IdRange { inside: next()?, outside: next()?, count: next()? })
    };
    let mut ranges: Vec<IdRange> = text.lines().filter_map(line).collect();
    ranges.sort_unstable();
    ranges
}

fn inside(ranges: &[IdRange], outside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = outside.checked_sub(range.outside).filter(|offset| *offset < range.count)?;
        range.inside.checked_add(offset)
    })
}

fn outside(ranges: &[IdRange], inside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = inside.checked_sub(range.inside).filter(|offset| *offset < range.count)?;
        range.outside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::{IdMaps, parse};
    use crate::status::Status;

    #[test]
    fn numbers_are_those_of_the_namespace() {
        let users = parse("         0  884277248      65536\n     70000 1000 1\n");
        let maps = IdMaps { users, groups: parse("0 100 10\n") };
        assert_eq!(maps.user_inside(884_277_248), Some(0));
        assert_eq!(maps.user_inside(884_278_248), Some(1000));
        assert_eq!(maps.user_inside(1000), Some(70_000));
        assert_eq!((maps.user_inside(0), maps.user_inside(884_342_784)), (None, None));
        assert_eq!(maps.user_outside(1000), Some(884_278_248));
        assert_eq!((maps.user_outside(65_536), maps.group_outside(3)), (None, Some(103)));
        let status = Status {
            uids: [884_278_248; 4],
            gids: [103, 103, 103, 5],
            groups: [104].into(),
            ..Status::default()
        };
        let seen = maps.inside(&status);
        assert_eq!((seen.uids, seen.gids, seen.groups), ([1000; 4], [3, 3, 3, 5], [4].into()));
        let all = IdMaps { users: parse("0 0 4294967295"), groups: Vec::new() };
        assert_eq!((all.user_inside(0), all.user_inside(65_534)), (Some(0), Some(65_534)));
    }

    #[test]
    fn this_process_knows_its_own_user() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let uid = Status::of(pid).unwrap().effective_uid();
        assert!(IdMaps::of(pid).unwrap().user_inside(uid).is_some());
    }

    #[test]
    fn no_map_breaks_it() {
        let samples = ["         0  884277248      65536\n     70000 1000 1\n", "0 0 4294967295\n"];
        ksync_mangle::each_text(&samples, |text| {
            let maps = IdMaps { users: parse(text), groups: parse(text) };
            for id in [0, 1000, 70_000, 884_277_248, u32::MAX] {
                // Where ranges do not overlap, what is inside comes from where it goes to.
                if let (Some(inside), [_]) = (maps.user_inside(id), maps.users()) {
                    assert_eq!(maps.user_outside(inside), Some(id));
                }
            }
        });
    }
}
