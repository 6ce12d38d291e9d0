//! The root of a tree: an open directory. Below it, every step is an `openat` of one name that follows no symlink;
//! mounts below it are crossed, the way up never is.

use crate::error::Error;
use crate::identity::{Identity, identity_of};
use crate::path::{components, covers, is_below};
use crate::power::{Entered, Grant, Part, Power, Stay};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// Whom a written entry belongs to, as far as the writer may give it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The writing process.
    AsIs,
    /// As the entry that it replaces, else as the directory that it is in; of a root that is [`Root::used_by`] somebody as
    /// with the next.
    FromParent,
    /// The same, but a directory that its group shares (set-gid and writable by the group, as Kubernetes makes volumes with
    /// `fsGroup`) gives the group alone, and this is the user: by the directory's owner, root, the app could not write.
    FromParentOr(u32),
}

/// An open directory below which all paths are resolved.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    identity: Identity,
    user: Option<u32>,
    power: Option<Arc<dyn Power>>,
    alone: Option<Arc<Alone>>,
    /// Paths at which something is mounted.
    mounts: Arc<[String]>,
}

/// The root's own file system, in which permissions are overridden.
#[derive(Debug)]
struct Alone {
    /// The root without the mounts below it: whatever is renamed in the tree, no way leads from here into one of those.
    fd: OwnedFd,
    /// Where these are.
    mounts: Vec<String>,
}

/// Flags that open a directory only to go through it or to stat below it.
#[cfg(target_os = "linux")]
const THROUGH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const THROUGH: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Flags that open a directory so that its names can be read and its attributes set.
const READING: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Root {
    /// Opens the directory at `path`. Symlinks in `path` are followed: it is the caller's own.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shown = path.to_string_lossy();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", &shown, e))?;
        Self::from_fd(fd)
    }

    /// Takes an open directory, which may be one opened with `O_PATH` or a detached mount.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("stat", ".", e))?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Err(Error::NotADirectory { path: ".".to_owned() });
        }
        let identity = identity_of(&stat);
        Ok(Self { fd, identity, user: None, power: None, alone: None, mounts: Arc::default() })
    }

    /// The user that works in the tree, by the number that files have here. Where a directory is shared by its group, what is
    /// new in it belongs to that user, as if the user had made it ([`Owner::FromParent`]).
    #[must_use]
    pub fn used_by(self, user: u32) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Whoever works in the tree has this power, and on another thread nothing is done in it.
    #[must_use]
    pub fn with_power(self, power: Arc<dyn Power>) -> Self {
        Self { power: Some(power), ..self }
    }

    /// At these paths something is mounted. What is mounted in another process's view keeps its directory there: to remove that
    /// from outside would take the mount away (`detach_mounts` in the kernel's `fs/namei.c`), and no error tells.
    #[must_use]
    pub fn with_mounts(self, mounts: Vec<String>) -> Self {
        Self { mounts: mounts.into(), ..self }
    }

    /// Whether something is mounted at `path`.
    pub(crate) fn is_mount(&self, path: &str) -> bool {
        self.mounts.iter().any(|mount| mount == path)
    }

    /// Permissions are overridden ([`Part::Overridden`]) in the file system of the root, which is open as `alone` without the
    /// mounts below it. These, at the paths `mounts`, stay [`Part::Plain`].
    #[must_use]
    pub fn overridden(self, alone: OwnedFd, mut mounts: Vec<String>) -> Self {
        let all = mounts.clone();
        mounts.retain(|mount| !all.iter().any(|above| is_below(above, mount)));
        Self { alone: Some(Arc::new(Alone { fd: alone, mounts })), ..self }
    }

    /// Where mounts below the root are worked in otherwise than the root itself.
    pub(crate) fn mounts(&self) -> &[String] {
        self.alone.as_ref().map_or(&[], |alone| &alone.mounts)
    }

    pub(crate) fn part(&self, path: &str) -> Part {
        let mounted = || self.mounts().iter().any(|mount| covers(mount, path));
        if self.alone.is_some() && !mounted() { Part::Overridden } else { Part::Plain }
    }

    fn grant(&self, path: &str) -> Grant {
        Grant { power: self.power.clone(), part: self.part(path) }
    }

    /// Has the calling thread have what work at `path` takes, until what is returned is dropped.
    ///
    /// # Errors
    /// The thread does not work with the root's power.
    pub fn enter(&self, path: &str) -> Result<Stay, Error> {
        self.grant(path).enter(path)
    }

    /// The root, as the way to `path` begins.
    pub fn base(&self, path: &str) -> BorrowedFd<'_> {
        match &self.alone {
            Some(alone) if self.part(path) == Part::Overridden => alone.fd.as_fd(),
            _ => self.fd.as_fd(),
        }
    }

    /// Whom new entries belong to, of those who are to be had from their place.
    pub(crate) fn owner(&self) -> Owner {
        self.user.map_or(Owner::FromParent, Owner::FromParentOr)
    }

    /// Device and inode of the root; they can't change while it is open.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The same open directory once more.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let fd = self.fd.try_clone().map_err(|e| Error::io("duplicate", ".", e))?;
        let (power, alone, mounts) = (self.power.clone(), self.alone.clone(), Arc::clone(&self.mounts));
        Ok(Self { fd, identity: self.identity, user: self.user, power, alone, mounts })
    }

    /// A descriptor of the root itself that its names can be read from.
    pub(crate) fn reading(&self) -> Result<Entered, Error> {
        let (grant, stay) = (self.grant(""), self.enter("")?);
        let fd = rustix::fs::openat(self.base(""), ".", READING, Mode::empty());
        Ok(Entered::new(fd.map_err(|e| Error::io("open", ".", e))?, grant, stay))
    }

    /// Opens the directory that holds `path`, and returns it with the last name.
    pub(crate) fn parent<'p>(&self, path: &'p str) -> Result<(Entered, &'p str), Error> {
        let names = components(path)?;
        let (name, above) =
            names.split_last().ok_or(Error::BadPath { path: path.to_owned(), reason: "it is empty" })?;
        let (grant, stay) = (self.grant(path), self.enter(path)?);
        let mut dir = rustix::fs::openat(self.base(path), ".", THROUGH, Mode::empty())
            .map_err(|e| Error::io("open", ".", e))?;
        let mut done = 0;
        for component in above {
            done += component.len();
            let here = path.get(..done).unwrap_or(path);
            dir = step(&dir, component, here, THROUGH)?;
            done += 1;
        }
        Ok((Entered::new(dir, grant, stay), name))
    }

    /// Opens the directory at `path` for reading its names and setting its attributes.
    pub(crate) fn directory(&self, path: &str) -> Result<Entered, Error> {
        let (dir, name) = self.parent(path)?;
        let fd = step(&dir, name, path, READING)?;
        Ok(dir.with(fd))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens the directory `name` in `dir` for going through it.
pub(crate) fn through(dir: &OwnedFd, name: &str, path: &str) -> Result<OwnedFd, Error> {
    step(dir, name, path, THROUGH)
}

/// Opens the directory `name` in `dir` for reading its names.
pub(crate) fn reading(dir: &OwnedFd, name: &str, path: &str) -> Result<OwnedFd, Error> {
    step(dir, name, path, READING)
}

fn step(dir: &OwnedFd, name: &str, path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|e| match e {
        Errno::LOOP | Errno::NOTDIR | Errno::MLINK => Error::NotADirectory { path: path.to_owned() },
        e => Error::io("open", path, e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_symlink_on_the_way_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        symlink("real", dir.path().join("inner")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        for path in ["link/secret", "inner/x"] {
            assert!(matches!(root.parent(path), Err(Error::NotADirectory { .. })), "{path}");
        }
        assert!(matches!(root.directory("link"), Err(Error::NotADirectory { .. })));
        assert!(root.parent("real/x").is_ok());
    }

    #[test]
    fn identity_is_the_directory_not_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir(&a).unwrap();
        let before = Root::open(&a).unwrap().identity();
        fs::rename(&a, &b).unwrap();
        fs::create_dir(&a).unwrap();
        assert_eq!(Root::open(&b).unwrap().identity(), before);
        assert_ne!(Root::open(&a).unwrap().identity(), before);
    }

    #[test]
    fn a_file_is_no_root() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Root::open(file.path()).is_err());
        assert!(Root::from_fd(fs::File::open(file.path()).unwrap().into()).is_err());
    }
}
