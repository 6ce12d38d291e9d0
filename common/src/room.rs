//! Room on a file system, by statvfs(3).

use std::{io, os::fd::AsFd, path::Path};

/// The part of a file system that stays free whatever comes from elsewhere, in percent.
pub const SPARE_PERCENT: u64 = 5;

/// How large a file system is, and how much of it this user may still fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// In bytes.
    pub free: u64,
    /// In bytes.
    pub all: u64,
}

impl Room {
    /// Of the file system that `path` is on.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::told(&rustix::fs::statvfs(path)?))
    }

    /// Of the file system that an open file is on.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::told(&rustix::fs::fstatvfs(file)?))
    }

    fn told(stat: &rustix::fs::StatVfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Self { free: bytes(stat.f_bavail), all: bytes(stat.f_blocks) }
    }

    /// Whether so many `bytes` more leave `percent` of it free.
    pub fn leaves(self, bytes: u64, percent: u64) -> bool {
        self.free.checked_sub(bytes).is_some_and(|left| left >= self.all / 100 * percent)
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn a_share_stays_free() {
        let room = Room { free: 1000, all: 10_000 };
        assert!(room.leaves(500, 5));
        assert!(!room.leaves(501, 5));
        assert!(!room.leaves(1001, 0));
    }

    #[test]
    fn a_file_system_has_no_room_for_everything() {
        let dir = std::env::temp_dir();
        let room = Room::at(&dir).unwrap();
        assert_eq!(room.all, Room::of(std::fs::File::open(&dir).unwrap()).unwrap().all);
        assert!(room.leaves(0, 0) && !room.leaves(u64::MAX, 0));
    }
}
