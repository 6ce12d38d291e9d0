//! Removing what a pattern lets go with its directory (`(?d)`: an interpreter's cache, an editor's leftovers).
//!
//! Invariant: nothing on another file system goes.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType};

use crate::{
    copy::{Removed, remove_entry},
    error::Error,
    path::{MAX_DEPTH, join},
    root::{Root, reading},
};

/// Removes what is at these paths, with all that is below it.
pub fn remove_junk(root: &Root, junk: &[String]) -> Result<(), Error> {
    for path in junk {
        if remove_entry(root, path)? == Removed::NotEmpty {
            let dir = root.directory(path)?;
            let device = device_of(&dir, path)?;
            below(&dir, path, device, 0)?;
            remove_entry(root, path)?;
        }
    }
    Ok(())
}

/// Removes all that is in a directory and on its file system.
fn below(dir: &OwnedFd, prefix: &str, device: u64, depth: usize) -> Result<(), Error> {
    for (name, kind) in names(dir, prefix)? {
        // One that is not UTF-8 keeps it all where it is.
        let Some(name) = name else { continue };
        let path = join(prefix, &name);
        if kind == FileType::Directory && depth + 1 < MAX_DEPTH {
            let inner = reading(dir, &name, &path)?;
            if device_of(&inner, &path)? != device {
                continue;
            }
            below(&inner, &path, device, depth + 1)?;
            rustix::fs::unlinkat(dir, name.as_str(), AtFlags::REMOVEDIR)
        } else {
            rustix::fs::unlinkat(dir, name.as_str(), AtFlags::empty())
        }
        .or_else(|e| match e {
            // Its owner was faster, or something is in it that stays.
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST => Ok(()),
            e => Err(Error::io("remove", &path, e)),
        })?;
    }
    Ok(())
}

/// The names in a directory, none for one that is not UTF-8, and what they are of.
fn names(dir: &OwnedFd, prefix: &str) -> Result<Vec<(Option<String>, FileType)>, Error> {
    let failed = |e| Error::io("read the directory", prefix, e);
    let mut found = Vec::new();
    for item in rustix::fs::Dir::read_from(dir).map_err(failed)? {
        let item = item.map_err(failed)?;
        let name = item.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match item.file_type() {
            FileType::Unknown => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
            told => told,
        };
        found.push((name.to_str().ok().map(str::to_owned), kind));
    }
    Ok(found)
}

fn device_of(dir: &OwnedFd, path: &str) -> Result<u64, Error> {
    let stat = rustix::fs::fstat(dir).map_err(|e| Error::io("stat", path, e))?;
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)] // signed on macOS
    Ok(stat.st_dev as u64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::remove_junk;
    use crate::Root;

    #[test]
    fn it_goes_with_all_that_is_below() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["pkg/__pycache__/deep/a.pyc", "pkg/.m.py.swp", "pkg/m.py"] {
            let at = dir.path().join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, "").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        for _ in 0..2 {
            remove_junk(&root, &["pkg/__pycache__", "pkg/.m.py.swp"].map(str::to_owned)).unwrap();
            assert_eq!(fs::read_dir(dir.path().join("pkg")).unwrap().count(), 1);
        }
        assert!(dir.path().join("pkg/m.py").exists());
    }
}
