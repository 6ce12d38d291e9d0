//! What keeps a directory from going when all that is synced in it is gone: things that are left out.
//!
//! Invariant: only what the patterns let go with its directory is removed (`(?d)`: an interpreter's cache, an editor's
//! leftovers), nothing on another file system, and none of it while there is something else that is synced.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType};

use crate::{
    Ignore,
    copy::{Removed, remove_entry},
    error::Error,
    path::{MAX_DEPTH, covers, join},
    root::{Root, reading},
};

/// What is left in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// Nothing but what may go with it, at these paths, and directories that hold nothing else.
    Junk(Vec<String>),
    /// Beside that, only what is left out by name and stays.
    LeftOut,
    /// Something that is synced, or can't be known.
    Synced,
}

/// What is left in the directory at `path`, where `ignore` is left out and something is mounted at each of `exclude`.
pub fn rest(root: &Root, path: &str, ignore: &Ignore, exclude: &[String]) -> Result<Rest, Error> {
    let dir = root.directory(path)?;
    let device = device_of(&dir, path)?;
    let mut look = Look { ignore, exclude, device, junk: Vec::new(), stays: false };
    let known = look.directory(&dir, path, 0)?;
    Ok(match (known, look.stays) {
        (false, _) => Rest::Synced,
        (true, true) => Rest::LeftOut,
        (true, false) => Rest::Junk(look.junk),
    })
}

/// Removes the file, the symlink or the directory at `path`, as [`remove_entry`] does, and with a directory what may go with
/// it. A directory in which something else is left stays as it is.
pub fn remove_with_junk(
    root: &Root,
    path: &str,
    ignore: &Ignore,
    exclude: &[String],
) -> Result<Removed, Error> {
    let removed = remove_entry(root, path)?;
    if removed != Removed::NotEmpty {
        return Ok(removed);
    }
    match rest(root, path, ignore, exclude) {
        Ok(Rest::Junk(junk)) => remove_junk(root, &junk)?,
        Ok(Rest::LeftOut | Rest::Synced) => return Ok(Removed::NotEmpty),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    remove_entry(root, path)
}

/// Removes what [`rest`] has found to be junk.
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

struct Look<'a> {
    ignore: &'a Ignore,
    exclude: &'a [String],
    device: u64,
    junk: Vec<String>,
    stays: bool,
}

impl Look<'_> {
    /// Whether all in a directory is left out.
    fn directory(&mut self, dir: &OwnedFd, prefix: &str, depth: usize) -> Result<bool, Error> {
        for (name, kind) in names(dir, prefix)? {
            let Some(name) = name else { return Ok(false) };
            let path = join(prefix, &name);
            if self.exclude.iter().any(|mount| covers(mount, &path) || covers(&path, mount)) {
                return Ok(false);
            }
            if self.ignore.matches(&path) {
                if self.ignore.goes_with_its_directory(&path) {
                    self.junk.push(path);
                } else {
                    self.stays = true;
                }
                continue;
            }
            if kind != FileType::Directory || depth + 1 >= MAX_DEPTH {
                return Ok(false);
            }
            let below = reading(dir, &name, &path)?;
            if device_of(&below, &path)? != self.device || !self.directory(&below, &path, depth + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
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

    use super::{Rest, remove_with_junk, rest};
    use crate::{Ignore, Removed, Root};

    fn tree(paths: &[&str]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for path in paths {
            let at = dir.path().join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, "").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn ignoring(patterns: &[&str]) -> Ignore {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Ignore::with_defaults(&patterns).unwrap()
    }

    #[test]
    fn an_interpreters_cache_and_an_editors_files_go_with_their_directory() {
        let (dir, root) =
            tree(&["pkg/__pycache__/deep/a.pyc", "pkg/sub/.m.py.swp", "pkg/sub/m.py~", "pkg2/x"]);
        assert_eq!(remove_with_junk(&root, "pkg", &ignoring(&[]), &[]).unwrap(), Removed::NotEmpty);
        // The directory below it is an entry of its own, which goes first.
        assert!(!dir.path().join("pkg/__pycache__").exists() && dir.path().join("pkg/sub").exists());
        for path in ["pkg/sub", "pkg"] {
            let removed = remove_with_junk(&root, path, &ignoring(&[]), &[]).unwrap();
            assert_eq!(removed, Removed::Gone(crate::Kind::Dir), "{path}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(remove_with_junk(&root, "pkg", &ignoring(&[]), &[]).unwrap(), Removed::Missing);
    }

    #[test]
    fn nothing_goes_beside_what_stays() {
        let cases: [(&str, &[&str], &[&str], Rest); 7] = [
            ("a file that is synced", &["pkg/__pycache__/a", "pkg/new.py"], &[], Rest::Synced),
            ("a person's pattern", &["pkg/__pycache__/a", "pkg/x.log"], &["*.log"], Rest::LeftOut),
            ("one that may go", &["pkg/x.log"], &["(?d)*.log"], Rest::Junk(vec!["pkg/x.log".to_owned()])),
            ("a repository", &["pkg/.git/HEAD"], &[], Rest::LeftOut),
            ("versions", &["pkg/.stversions/a", "pkg/a.sync-conflict-1"], &[], Rest::LeftOut),
            ("a default taken back", &["pkg/__pycache__/a"], &["!__pycache__"], Rest::Synced),
            ("something deeper", &["pkg/d/e/new.py", "pkg/m~"], &[], Rest::Synced),
        ];
        for (what, paths, patterns, expected) in cases {
            let (dir, root) = tree(paths);
            let ignore = ignoring(patterns);
            assert_eq!(rest(&root, "pkg", &ignore, &[]).unwrap(), expected, "{what}");
            if !matches!(expected, Rest::Junk(_)) {
                assert_eq!(remove_with_junk(&root, "pkg", &ignore, &[]).unwrap(), Removed::NotEmpty);
                assert!(paths.iter().all(|path| dir.path().join(path).exists()), "{what}");
            }
        }
        let (_dir, root) = tree(&["pkg/__pycache__/a"]);
        for mount in ["pkg/__pycache__", "pkg/__pycache__/a", "pkg"] {
            assert_eq!(
                rest(&root, "pkg", &ignoring(&[]), &[mount.to_owned()]).unwrap(),
                Rest::Synced,
                "{mount}"
            );
        }
    }
}
