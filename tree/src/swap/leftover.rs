//! Displaced files that nobody knows of any more, because whoever displaced them has ended.
//!
//! Invariant: nothing is removed here, and no symlink is followed.

use super::Displaced;
use crate::entry::Kind;
use crate::error::Error;
use crate::path::{MAX_DEPTH, covers, join};
use crate::power::Directory;
use crate::root::{Root, reading};
use crate::stat::entry_at;
use crate::write::is_displaced;
use rustix::fs::{AtFlags, FileType};
use std::time::{Duration, SystemTime};

/// All displaced files below `root` but those at or below one of `exclude`. [`Displaced::path`] is that of the file itself:
/// its place is not known. What can't be looked at is passed over.
pub fn find_displaced(root: &Root, exclude: &[String]) -> Result<Vec<Displaced>, Error> {
    let mut found = Vec::new();
    let apart = [exclude, root.mounts()].concat();
    let top = root.reading()?;
    directory(&top, "", 0, &apart, &mut found)?;
    drop(top);
    for mount in root.mounts().iter().filter(|mount| !exclude.iter().any(|above| covers(above, mount))) {
        // It may not be ours to read.
        if let Ok(dir) = root.directory(mount) {
            directory(&dir, mount, 0, exclude, &mut found)?;
        }
    }
    Ok(found)
}

/// The displaced file at `path`, if one is there that was displaced at least `age` ago.
pub fn displaced_at(root: &Root, path: &str, age: Duration) -> Result<Option<Displaced>, Error> {
    let (dir, name) = root.parent(path)?;
    let Some(known) = entry_at(&dir, name, path, false)?.filter(|known| known.kind != Kind::Dir) else {
        return Ok(None);
    };
    let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Error::io("look at", path, error))?;
    // To be renamed changes a file's ctime.
    let since =
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_ctime).unwrap_or_default());
    let old = since.elapsed().is_ok_and(|now| now >= age);
    old.then(|| Displaced::new(&dir, name, path, &known)).transpose()
}

fn directory(
    dir: &Directory,
    prefix: &str,
    depth: usize,
    exclude: &[String],
    found: &mut Vec<Displaced>,
) -> Result<(), Error> {
    let listed = rustix::fs::Dir::read_from(dir).map_err(|e| Error::io("read the directory", prefix, e))?;
    for item in listed {
        let item = item.map_err(|e| Error::io("read the directory", prefix, e))?;
        let Ok(name) = item.file_name().to_str() else { continue };
        let path = join(prefix, name);
        if matches!(name, "." | "..") || exclude.iter().any(|above| covers(above, &path)) {
            continue;
        }
        if is_displaced(name) {
            // It may be gone by now, or be of a kind that nobody displaces.
            if let Ok(Some(known)) = entry_at(dir, name, &path, false)
                && known.kind != Kind::Dir
            {
                found.push(Displaced::new(dir, name, &path, &known)?);
            }
            continue;
        }
        let kind = match item.file_type() {
            FileType::Unknown => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
            told => told,
        };
        if kind == FileType::Directory
            && depth + 1 < MAX_DEPTH
            && let Ok(below) = reading(dir, name, &path)
        {
            let below = dir.beside(below);
            // It may go while it is read.
            drop(directory(&below, &path, depth + 1, exclude, found));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swap::Verdict;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_was_displaced_is_found_wherever_it_lies_and_nothing_else() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("d/e")).unwrap();
        fs::create_dir(at("volume")).unwrap();
        for path in
            ["f", ".ksync.was-1.tmp", "d/e/.ksync.was-2.tmp", "d/.ksync.3.tmp", "volume/.ksync.was-4.tmp"]
        {
            fs::write(at(path), "text").unwrap();
        }
        fs::create_dir(at("d/.ksync.was-5.tmp")).unwrap();
        fs::write(outside.path().join(".ksync.was-6.tmp"), "").unwrap();
        symlink(outside.path(), at("out")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut found = find_displaced(&root, &["volume".to_owned()]).unwrap();
        found.sort_by(|a, b| a.at().cmp(b.at()));
        let paths: Vec<&str> = found.iter().map(Displaced::at).collect();
        assert_eq!(paths, [".ksync.was-1.tmp", "d/e/.ksync.was-2.tmp"]);
        let second = found.pop().unwrap();
        assert_eq!(second.judge().unwrap(), Verdict::Same);
        second.discard().unwrap();
        assert!(!at("d/e/.ksync.was-2.tmp").exists() && at(".ksync.was-1.tmp").exists());
    }
}
