//! Taking away what a write that was cut off has left: syncthing's unfinished files and ours.

use crate::error::Error;
use crate::path::{MAX_DEPTH, covers, join};
use crate::root::{Root, reading};
use crate::write::is_unfinished;
use rustix::fs::{AtFlags, FileType};
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

/// Removes every unfinished file below `root` but what is at or below one of `exclude`; returns how many there were. What
/// can't be looked at or removed is left. Nobody else may be writing there, unless it goes on at least once in `quiet`: what
/// was touched since then is left too.
pub fn sweep_unfinished(root: &Root, exclude: &[String], quiet: Duration) -> Result<usize, Error> {
    let before = SystemTime::now().checked_sub(quiet);
    let apart = [exclude, root.mounts()].concat();
    let mut sweep = Sweep { exclude: &apart, before, swept: 0 };
    let top = root.reading()?;
    sweep.directory(&top, "", 0)?;
    drop(top);
    let mut swept = sweep.swept;
    for mount in root.mounts().iter().filter(|mount| !exclude.iter().any(|above| covers(above, mount))) {
        let mut sweep = Sweep { exclude, before, swept: 0 };
        // It may not be ours to read.
        if let Ok(dir) = root.directory(mount) {
            sweep.directory(&dir, mount, 0)?;
        }
        swept += sweep.swept;
    }
    Ok(swept)
}

struct Sweep<'a> {
    exclude: &'a [String],
    before: Option<SystemTime>,
    swept: usize,
}

impl Sweep<'_> {
    fn directory(&mut self, dir: &OwnedFd, prefix: &str, depth: usize) -> Result<(), Error> {
        let failed = |e| Error::io("read the directory", prefix, e);
        for item in rustix::fs::Dir::read_from(dir).map_err(failed)? {
            let item = item.map_err(failed)?;
            let Ok(name) = item.file_name().to_str() else { continue };
            let path = join(prefix, name);
            if matches!(name, "." | "..") || self.exclude.iter().any(|above| covers(above, &path)) {
                continue;
            }
            let kind = match item.file_type() {
                FileType::Unknown => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                told => told,
            };
            if kind == FileType::RegularFile && is_unfinished(name) && self.is_quiet(dir, name) {
                self.swept += usize::from(rustix::fs::unlinkat(dir, name, AtFlags::empty()).is_ok());
            } else if kind == FileType::Directory && depth + 1 < MAX_DEPTH {
                // It may be gone, or not be ours to read.
                if let Ok(below) = reading(dir, name, &path) {
                    self.directory(&below, &path, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// By its ctime: a file gets the mtime that it is to have just before it is finished.
    fn is_quiet(&self, dir: &OwnedFd, name: &str) -> bool {
        let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
        #[allow(clippy::unnecessary_cast)] // the width differs between platforms
        let touched = u64::try_from(stat.st_ctime as i64).map(Duration::from_secs);
        let touched = touched.map(|since| SystemTime::UNIX_EPOCH + since);
        touched.is_ok_and(|touched| self.before.is_some_and(|before| touched <= before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_is_unfinished_goes() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(dir.path().join("d/.syncthing.e.tmp")).unwrap();
        fs::create_dir(dir.path().join("volume")).unwrap();
        for name in ["a", "d/.syncthing.a.tmp", ".ksync.0.tmp", "~syncthing~b.tmp", "d/x.tmp", ".syncthing.a"]
        {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::write(dir.path().join("volume/.syncthing.a.tmp"), "").unwrap();
        fs::write(outside.path().join(".syncthing.a.tmp"), "").unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let exclude = ["volume".to_owned()];
        assert_eq!(sweep_unfinished(&root, &exclude, Duration::from_secs(60)).unwrap(), 0, "just written");
        assert_eq!(sweep_unfinished(&root, &exclude, Duration::ZERO).unwrap(), 3);
        for left in ["a", "d/.syncthing.e.tmp", "d/x.tmp", ".syncthing.a", "volume/.syncthing.a.tmp"] {
            assert!(dir.path().join(left).exists(), "{left}");
        }
        assert!(outside.path().join(".syncthing.a.tmp").exists());
        assert_eq!(sweep_unfinished(&root, &[], Duration::ZERO).unwrap(), 1);
    }
}
