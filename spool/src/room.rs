//! Room on a spool's file system.

use std::path::Path;

use ksync_common::Room;

use crate::error::{Error, io_error};

/// An error unless so many `bytes` more leave `percent` of the file system free.
pub(crate) fn has(dir: &Path, bytes: u64, percent: u64) -> Result<(), Error> {
    let room = Room::at(dir).map_err(io_error("stat", dir))?;
    if room.leaves(bytes, percent) {
        return Ok(());
    }
    Err(Error::Room { path: dir.to_owned(), bytes, percent })
}

#[cfg(test)]
mod tests {
    use super::has;
    use crate::error::Error;

    #[test]
    fn a_file_system_has_no_room_for_everything() {
        let dir = tempfile::tempdir().unwrap();
        has(dir.path(), 0, 0).unwrap();
        assert!(matches!(has(dir.path(), u64::MAX, 0), Err(Error::Room { .. })));
        assert!(matches!(has(&dir.path().join("none"), 0, 0), Err(Error::Io { .. })));
    }
}
