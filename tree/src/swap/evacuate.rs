//! Displaced files make way for a directory's end: they go to the root, where they stay as safe as they were.
//!
//! Invariant: whoever displaced a file is the one who moves it, for nobody else could find it any more.

use crate::error::Error;
use crate::path::{MAX_DEPTH, join};
use crate::root::{Root, reading};
use crate::write::is_displaced;
use rustix::fs::{FileType, RenameFlags};
use std::os::fd::OwnedFd;

/// What became of the displaced files in a directory, each by the path where it was.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Evacuated {
    /// They are in the root now.
    pub moved: Vec<String>,
    /// They are somebody else's, and stay.
    pub foreign: Vec<String>,
}

/// Moves the displaced files below the directory `path` that are `ours` to the root, under the names that they have. One on
/// another file system stays.
pub fn evacuate(root: &Root, path: &str, ours: impl Fn(&str) -> bool) -> Result<Evacuated, Error> {
    let (to, top) = (root.reading()?, root.directory(path)?);
    let mut evacuated = Evacuated::default();
    directory(&top, path, 0, &to, &ours, &mut evacuated)?;
    Ok(evacuated)
}

fn directory(
    dir: &OwnedFd,
    prefix: &str,
    depth: usize,
    to: &OwnedFd,
    ours: &impl Fn(&str) -> bool,
    evacuated: &mut Evacuated,
) -> Result<(), Error> {
    let failed = |e| Error::io("read the directory", prefix, e);
    for item in rustix::fs::Dir::read_from(dir).map_err(failed)? {
        let item = item.map_err(failed)?;
        let Ok(name) = item.file_name().to_str() else { continue };
        if matches!(name, "." | "..") {
            continue;
        }
        let path = join(prefix, name);
        if is_displaced(name) {
            if !ours(&path) {
                evacuated.foreign.push(path);
            } else if rustix::fs::renameat_with(dir, name, to, name, RenameFlags::NOREPLACE).is_ok() {
                evacuated.moved.push(path);
            }
        } else if matches!(item.file_type(), FileType::Directory | FileType::Unknown)
            && depth + 1 < MAX_DEPTH
            && let Ok(below) = reading(dir, name, &path)
        {
            directory(&below, &path, depth + 1, to, ours, evacuated)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn displaced_files_of_ours_go_to_the_root_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        for name in
            ["a/.ksync.was-1.tmp", "a/b/.ksync.was-2.tmp", "a/b/.ksync.was-4.tmp", "a/b/.ksync.3.tmp", "a/f"]
        {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let mut evacuated = evacuate(&root, "a", |at| !at.ends_with("4.tmp")).unwrap();
        evacuated.moved.sort();
        assert_eq!(evacuated.moved, ["a/.ksync.was-1.tmp", "a/b/.ksync.was-2.tmp"]);
        assert_eq!(evacuated.foreign, ["a/b/.ksync.was-4.tmp"]);
        assert_eq!(fs::read_to_string(dir.path().join(".ksync.was-2.tmp")).unwrap(), "a/b/.ksync.was-2.tmp");
        assert!(dir.path().join("a/b/.ksync.3.tmp").exists() && dir.path().join("a/f").exists());
    }
}
