//! What the calling thread may do while it works in a tree: a tree of somebody else's is worked in with his power.
//!
//! Invariant: a directory below a root with a [`Power`] is in use only while the thread has what its part takes; where the
//! thread can't have it, nothing is done. A thread that has left a part has what it had before.

use crate::error::Error;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A part of a tree, by what is done in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Permissions count.
    Plain,
    /// They are overridden.
    Overridden,
}

/// What threads need that work in a tree.
pub trait Power: fmt::Debug + Send + Sync {
    /// Has the calling thread have what `part` takes, no less and no more, and returns what it had.
    ///
    /// # Errors
    /// The thread is none that works with this power, or the system refuses.
    fn enter(&self, part: Part) -> io::Result<Part>;
}

/// What work in a directory takes.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) power: Option<Arc<dyn Power>>,
    pub(crate) part: Part,
}

impl Grant {
    pub(crate) fn enter(&self, path: &str) -> Result<Stay, Error> {
        let Some(power) = &self.power else { return Ok(Stay(None)) };
        let before = power.enter(self.part).map_err(|e| Error::io("work in", path, e))?;
        Ok(Stay((before != self.part).then(|| (Arc::clone(power), before))))
    }
}

/// For as long as this is there, the thread has what a part takes.
#[derive(Debug)]
#[must_use]
pub struct Stay(Option<(Arc<dyn Power>, Part)>);

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some((power, before)) = self.0.take()
            && power.enter(before).is_err()
            && before == Part::Plain
        {
            // To give up power can't be refused. Whatever this thread did from here on would be done with too much.
            std::process::abort();
        }
    }
}

/// An open directory of a tree, and what work in it takes.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    grant: Grant,
}

impl Directory {
    pub(crate) fn enter(&self, path: &str) -> Result<Stay, Error> {
        self.grant.enter(path)
    }

    /// Another directory of the same part.
    pub(crate) fn beside(&self, fd: OwnedFd) -> Self {
        Self { fd, grant: self.grant.clone() }
    }

    /// The same open directory once more.
    pub(crate) fn try_clone(&self, path: &str) -> Result<Self, Error> {
        let fd = self.fd.try_clone().map_err(|e| Error::io("duplicate", path, e))?;
        Ok(Self { fd, grant: self.grant.clone() })
    }
}

impl Deref for Directory {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        &self.fd
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An open directory that the thread works in.
#[derive(Debug)]
pub(crate) struct Entered {
    directory: Directory,
    stay: Stay,
}

impl Entered {
    pub(crate) fn new(fd: OwnedFd, grant: Grant, stay: Stay) -> Self {
        Self { directory: Directory { fd, grant }, stay }
    }

    /// The directory, when the thread is through with it for now.
    pub(crate) fn leave(self) -> Directory {
        self.directory
    }

    /// The same with another directory of the same part.
    pub(crate) fn with(self, fd: OwnedFd) -> Self {
        Self { directory: Directory { fd, grant: self.directory.grant }, stay: self.stay }
    }
}

impl Deref for Entered {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

impl AsFd for Entered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;
    use std::cell::Cell;

    thread_local! {
        static HAS: Cell<Option<Part>> = const { Cell::new(None) };
    }

    /// Of threads that say so.
    #[derive(Debug)]
    struct OfThisThread;

    impl Power for OfThisThread {
        fn enter(&self, part: Part) -> io::Result<Part> {
            let before = HAS.get().ok_or(io::ErrorKind::PermissionDenied)?;
            HAS.set(Some(part));
            Ok(before)
        }
    }

    fn has() -> Option<Part> {
        HAS.get()
    }

    #[test]
    fn a_thread_has_what_a_part_takes_only_while_it_works_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/volume")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let alone =
            rustix::fs::open(dir.path(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        let root = root.with_power(Arc::new(OfThisThread)).overridden(alone, vec!["a/volume".to_owned()]);
        assert!(crate::look(&root, "a").is_err(), "on a thread that has no such power");
        HAS.set(Some(Part::Plain));
        {
            let (above, _) = root.parent("a/x").unwrap();
            assert_eq!(has(), Some(Part::Overridden));
            {
                let _volume = root.directory("a/volume").unwrap();
                assert_eq!(has(), Some(Part::Plain), "in a mount below");
            }
            assert_eq!(has(), Some(Part::Overridden), "back");
            let left = above.leave();
            assert_eq!(has(), Some(Part::Plain));
            let _stay = left.enter("a").unwrap();
            assert_eq!(has(), Some(Part::Overridden));
        }
        assert_eq!(has(), Some(Part::Plain));
        let found = crate::look_into(&root, "a", |_| false).unwrap().unwrap();
        assert_eq!(found.entries[0], crate::look(&root, "a/volume").unwrap().unwrap());
    }
}
