//! Room on a spool's file system.

use std::path::Path;

use crate::error::{Error, io_error};

/// An error unless so many `bytes` more leave `percent` of the file system free.
pub(crate) fn has(dir: &Path, bytes: u64, percent: u64) -> Result<(), Error> {
    let stat = rustix::fs::statvfs(dir).map_err(|errno| io_error("stat", dir)(errno.into()))?;
    let (free, all) =
        (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
    if leaves(free, all, bytes, percent) {
        return Ok(());
    }
    Err(Error::Room { path: dir.to_owned(), bytes, percent })
}

fn leaves(free: u64, all: u64, bytes: u64, percent: u64) -> bool {
    free.checked_sub(bytes).is_some_and(|left| left >= all / 100 * percent)
}

#[cfg(test)]
mod tests {
    use super::{has, leaves};
    use crate::error::Error;

    #[test]
    fn a_share_stays_free() {
        assert!(leaves(1000, 10_000, 500, 5));
        assert!(!leaves(1000, 10_000, 501, 5));
        assert!(!leaves(1000, 10_000, 1001, 0));
    }

    #[test]
    fn a_file_system_has_no_room_for_everything() {
        let dir = tempfile::tempdir().unwrap();
        has(dir.path(), 0, 0).unwrap();
        assert!(matches!(has(dir.path(), u64::MAX, 0), Err(Error::Room { .. })));
        assert!(matches!(has(&dir.path().join("none"), 0, 0), Err(Error::Io { .. })));
    }
}
