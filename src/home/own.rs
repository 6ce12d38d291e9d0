//! Whose a file is. What others could write says what they like, and a symlink of another user leads what we write to where
//! they like.
//!
//! Invariant: between the look and the use nobody can put another file in its place: each step of a path is taken on open
//! directories.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

/// Symlinks on the way to a file; as many as Linux follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Why a file or directory is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOwn {
    /// Neither this user's nor root's.
    #[error("{what} `{path}` belongs to another user ({uid})")]
    Foreign {
        /// The file, the directory, the symlink.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// The user's number.
        uid: u32,
    },
    /// Others may write it.
    #[error("others may write {what} `{path}`")]
    Writable {
        /// The file, the directory.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
    },
}

impl NotOwn {
    /// What to do.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Foreign { .. } => {
                "ksync trusts what is yours or root's: `chown` it, or put one of your own in its place"
                    .to_owned()
            }
            Self::Writable { path, .. } => format!("run `chmod go-w {}`", path.display()),
        }
    }

    /// The one among the causes of an error.
    pub(crate) fn among<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Self> {
        let causes = std::iter::successors(Some(error), |error| error.source());
        causes.into_iter().find_map(|cause| {
            let inside = cause.downcast_ref::<io::Error>().and_then(|error| error.get_ref()?.downcast_ref());
            cause.downcast_ref().or(inside)
        })
    }
}

impl From<NotOwn> for io::Error {
    fn from(not_own: NotOwn) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, not_own)
    }
}

/// Who looks: a user and the group that his files have.
#[derive(Debug, Clone, Copy)]
struct Me {
    uid: u32,
    gid: u32,
}

fn me() -> Me {
    Me { uid: super::place::uid(), gid: rustix::process::getegid().as_raw() }
}

/// Whether somebody is this user, or root, who needs no file to do what he likes.
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == super::place::uid()
}

/// A group that is not the user's own may have anybody in it.
fn check(what: &'static str, path: &Path, stat: &Stat, me: Me) -> Result<(), NotOwn> {
    let path = || path.to_owned();
    let mode = Mode::from_raw_mode(stat.st_mode);
    if stat.st_uid != 0 && stat.st_uid != me.uid {
        return Err(NotOwn::Foreign { what, path: path(), uid: stat.st_uid });
    }
    let by_group = mode.contains(Mode::WGRP) && stat.st_gid != me.gid;
    if mode.contains(Mode::WOTH) || by_group {
        return Err(NotOwn::Writable { what, path: path() });
    }
    Ok(())
}

/// Refuses a directory, or a file, that is another user's or that others may write. What is not there is nobody's.
pub(super) fn check_at(what: &'static str, path: &Path) -> io::Result<()> {
    match rustix::fs::stat(path) {
        Ok(stat) => Ok(check(what, path, &stat, me())?),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a program that others could have put there.
pub(crate) fn check_program(path: &Path) -> io::Result<()> {
    check_at("the program", path)
}

/// The content of a text file that is this user's or root's, by whatever symlinks of theirs.
pub(crate) fn read_own(path: &Path) -> io::Result<String> {
    let (dir, name) = walk(path)?;
    // A pipe in its place is opened at once, and refused.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(&dir, &name, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    check("the file", path, &stat, me())?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// What stands where a file is to be replaced; none where nothing does. Another's is refused.
pub(super) fn replaced(dir: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            check("the file", path, &stat, me())?;
            Ok(Some(stat))
        }
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(target_os = "linux")]
const THROUGH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const THROUGH: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// The directory that a path leads into, open, and the name in it, which is no symlink or not there. Symlinks are followed where
/// they are this user's or root's.
pub(super) fn walk(path: &Path) -> io::Result<(OwnedFd, OsString)> {
    let path = std::path::absolute(path)?;
    let root = || rustix::fs::open("/", THROUGH | OFlags::DIRECTORY, Mode::empty());
    let (mut dir, mut at, mut links) = (root()?, PathBuf::from("/"), 0);
    let mut steps: VecDeque<OsString> = steps_of(&path);
    while let Some(step) = steps.pop_front() {
        if step == "/" {
            (dir, at) = (root()?, PathBuf::from("/"));
            continue;
        }
        at.push(&step);
        match read_link(&dir, &step) {
            Ok(Some((owner, target))) => {
                if !is_trusted(owner) {
                    return Err(NotOwn::Foreign { what: "the symlink", path: at, uid: owner }.into());
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                at.pop();
                steps_of(&target).into_iter().rev().for_each(|step| steps.push_front(step));
            }
            Ok(None) | Err(rustix::io::Errno::NOENT) if steps.is_empty() && step != ".." => {
                return Ok((dir, step));
            }
            Ok(None) => {
                let flags = THROUGH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                dir = rustix::fs::openat(&dir, &step, flags, Mode::empty())?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a directory"))
}

fn steps_of(path: &Path) -> VecDeque<OsString> {
    let step = |component: Component<'_>| match component {
        Component::CurDir | Component::Prefix(_) => None,
        other => Some(other.as_os_str().to_owned()),
    };
    path.components().filter_map(step).collect()
}

/// Whose symlink stands there, and where it leads; none where something else does.
fn read_link(dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<Option<(u32, PathBuf)>> {
    #[cfg(target_os = "linux")]
    {
        // The owner and the target of one and the same link.
        let link = rustix::fs::openat(dir, name, THROUGH | OFlags::NOFOLLOW, Mode::empty())?;
        let stat = rustix::fs::fstat(&link)?;
        if !FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return Ok(None);
        }
        let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
        Ok(Some((stat.st_uid, PathBuf::from(OsString::from_vec(target.into_bytes())))))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return Ok(None);
        }
        let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
        Ok(Some((stat.st_uid, PathBuf::from(OsString::from_vec(target.into_bytes())))))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, lchown, symlink},
        path::Path,
    };

    use super::{Me, NotOwn, check, check_at, read_own, walk};
    use crate::home::write_whole;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_could_have_written_is_not_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "").unwrap();
        let mut stat = rustix::fs::stat(&path).unwrap();
        let me = Me { uid: 1000, gid: 1000 };
        let told = |uid, gid, mode: u32, stat: &mut rustix::fs::Stat| {
            (stat.st_uid, stat.st_gid, stat.st_mode) = (uid, gid, 0o100_000 | mode);
            check("the file", Path::new("/f"), stat, me).err().map(|why| why.to_string())
        };
        for (uid, gid, mode) in [(1000, 1000, 0o600), (1000, 7, 0o644), (0, 0, 0o644), (1000, 1000, 0o664)] {
            assert_eq!(told(uid, gid, mode, &mut stat), None, "{uid} {gid} {mode:o}");
        }
        let foreign = told(1001, 1001, 0o600, &mut stat).unwrap();
        assert_eq!(foreign, "the file `/f` belongs to another user (1001)");
        for (gid, mode) in [(1000, 0o666), (7, 0o664), (1000, 0o602)] {
            assert_eq!(
                told(1000, gid, mode, &mut stat).unwrap(),
                "others may write the file `/f`",
                "{mode:o}"
            );
        }
    }

    #[test]
    fn ones_own_symlinks_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink("real", at("dir")).unwrap();
        symlink("../dir/./f", at("real/link")).unwrap();
        write_whole(&at("dir/link"), b"one").unwrap();
        assert_eq!(fs::read_to_string(at("real/f")).unwrap(), "one");
        assert_eq!(read_own(&at("dir/link")).unwrap(), "one");
        symlink("loop", at("loop")).unwrap();
        for bad in [at("loop"), at("none/f"), at("real/f/g"), dir.path().join("dir/..")] {
            assert!(walk(&bad).is_err(), "{}", bad.display());
        }
        assert!(read_own(&at("real")).is_err() && read_own(&at("none")).is_err());
        mode(&at("real/f"), 0o606);
        let error = read_own(&at("dir/link")).unwrap_err();
        assert!(error.to_string().starts_with("others may write the file"), "{error}");
        assert!(NotOwn::among(&error).unwrap().hint().starts_with("run `chmod go-w "));
        assert!(write_whole(&at("dir/link"), b"two").is_err());
        mode(dir.path(), 0o777);
        assert!(check_at("the directory", dir.path()).is_err() && check_at("the file", &at("none")).is_ok());
    }

    /// As in a shared `/tmp`, on a kernel that does not protect symlinks there.
    #[test]
    fn another_users_files_and_symlinks_are_refused() {
        if rustix::process::geteuid().as_raw() != 0 {
            return ksync_skip::skipped("only root can make another user's files");
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "mine").unwrap();
        fs::create_dir(at("mine")).unwrap();
        for (name, target) in [("link", "victim"), ("dir", "mine")] {
            symlink(target, at(name)).unwrap();
            lchown(at(name), Some(1234), Some(1234)).unwrap();
        }
        symlink("link", at("via")).unwrap();
        fs::write(at("theirs"), "theirs").unwrap();
        lchown(at("theirs"), Some(1234), Some(1234)).unwrap();
        for name in ["link", "via", "dir/new", "theirs"] {
            for error in [write_whole(&at(name), b"evil").unwrap_err(), read_own(&at(name)).unwrap_err()] {
                assert!(
                    matches!(NotOwn::among(&error), Some(NotOwn::Foreign { uid: 1234, .. })),
                    "{name}: {error}"
                );
            }
        }
        assert_eq!(fs::read_to_string(at("victim")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(at("theirs")).unwrap(), "theirs");
        assert_eq!(fs::read_dir(at("mine")).unwrap().count(), 0);
    }
}
