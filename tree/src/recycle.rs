//! What becomes of a file that a copy replaces: the next copy's temporary file, instead of being deleted.
//!
//! A file system may look at every inode that was deleted in the last minutes before it takes one for a new file (ext4 with a
//! journal does: its `recently_deleted`), and then thousands of replaced files cost their square.
//!
//! Invariant: a file is written anew only when it has no name but its temporary one, nothing but its content and what is set
//! on every file that is put in place, and nobody has it open or mapped: the kernel granted a write lease on it (fcntl(2),
//! F_SETLEASE). A file of which that can't be said is let go, as a replaced file always is.

use crate::write::temp_name;
use rustix::fs::{AtFlags, FileType, Stat, fstat};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// Larger files are worth their deletion, and on an overlay a second name may cost a copy of an image's file.
const MOST: i64 = 1 << 20;

/// A replaced file under a temporary name; dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Spare {
    dir: OwnedFd,
    name: String,
    live: bool,
}

impl Spare {
    /// Gives the file at `name`, which is about to be replaced and was `there` just now, a second name; none where that
    /// can't be, or would be of no use.
    pub(crate) fn of(dir: &OwnedFd, name: &str, there: &Stat) -> Option<Self> {
        let is_file = FileType::from_raw_mode(there.st_mode).is_file();
        if !cfg!(target_os = "linux") || !is_file || there.st_nlink != 1 || there.st_size > MOST {
            return None;
        }
        let spare = temp_name();
        let dir = dir.try_clone().ok()?;
        rustix::fs::linkat(&dir, name, &dir, spare.as_str(), AtFlags::empty()).ok()?;
        Some(Self { dir, name: spare, live: true })
    }

    /// The file's temporary name in `dir`, and it, open for writing and readable by nobody else; none when it is not to be
    /// written. What it holds is still in it.
    pub(crate) fn reuse(mut self, dir: &OwnedFd) -> Option<(String, File)> {
        let (ours, theirs) = (fstat(&self.dir).ok()?, fstat(dir).ok()?);
        // What a directory hands down to its files is the same only in the same one.
        if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino) {
            return None;
        }
        let file = open_alone(dir, &self.name)?;
        self.live = false;
        Some((std::mem::take(&mut self.name), file))
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if self.live {
            // A leftover is ignored by name everywhere.
            let _ = rustix::fs::unlinkat(&self.dir, self.name.as_str(), AtFlags::empty());
        }
    }
}

#[cfg(target_os = "linux")]
fn open_alone(dir: &OwnedFd, name: &str) -> Option<File> {
    use rustix::fs::{Mode, OFlags, fchmod, fchown, flistxattr, openat};
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty()).ok()?;
    let stat = fstat(&fd).ok()?;
    let alone = FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_nlink == 1;
    if !alone || flistxattr(&fd, &mut [0u8; 0]).ok()? != 0 {
        return None;
    }
    fchmod(&fd, Mode::RUSR | Mode::WUSR).ok()?;
    let us = rustix::process::geteuid();
    // A lease is for the owner.
    if stat.st_uid != us.as_raw() {
        fchown(&fd, Some(us), None).ok()?;
    }
    is_opened_by_nobody(&fd).then(|| File::from(fd))
}

#[cfg(not(target_os = "linux"))]
fn open_alone(_dir: &OwnedFd, _name: &str) -> Option<File> {
    None
}

/// Whether nobody else has the file open or mapped now.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "rustix knows no leases")]
fn is_opened_by_nobody(file: impl AsFd) -> bool {
    use std::os::fd::AsRawFd;
    /// asm-generic/fcntl.h
    const F_SETSIG: libc::c_int = 10;
    let fd = file.as_fd().as_raw_fd();
    // Who opens it while the lease is held has a signal sent to us, by default one that ends the process; this one is ignored.
    // SAFETY: calls with a descriptor that is open, and numbers.
    unsafe {
        libc::fcntl(fd, F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK) == 0
            && libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) == 0
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use crate::copy::{Copies, Original};
    use crate::root::Root;
    use crate::stat::stat_entry;
    use rustix::fs::{CWD, Mode, OFlags, flistxattr, openat};
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn pair() -> (tempfile::TempDir, tempfile::TempDir) {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["1", "2", "3"] {
            fs::write(a.path().join(name), format!("new {name}, {}", "x".repeat(100))).unwrap();
            fs::write(b.path().join(name), format!("old {name}, {}", "y".repeat(200))).unwrap();
        }
        (a, b)
    }

    fn copy(a: &Path, b: &Path) {
        let (from, to) = (Root::open(a).unwrap(), Root::open(b).unwrap());
        let mut copies = Copies::new(&from, &to);
        for name in ["1", "2", "3"] {
            copies.copy(name).unwrap();
        }
        drop(copies);
        for name in ["1", "2", "3"] {
            assert_eq!(fs::read(b.join(name)).unwrap(), fs::read(a.join(name)).unwrap());
        }
        let left = fs::read_dir(b).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            crate::is_temp(&name.to_string_lossy())
        });
        assert_eq!(left.count(), 0);
    }

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn a_replaced_file_is_the_next_ones_temporary() {
        let (a, b) = pair();
        let before = ["1", "2"].map(|name| inode(&b.path().join(name)));
        copy(a.path(), b.path());
        assert_eq!(["2", "3"].map(|name| inode(&b.path().join(name))), before);
    }

    #[test]
    fn what_somebody_has_open_or_mapped_keeps_its_content() {
        let (a, b) = pair();
        let before = inode(&b.path().join("1"));
        // Nor does it give its number away.
        let mut open = fs::File::open(b.path().join("1")).unwrap();
        copy(a.path(), b.path());
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("old 1, {}", "y".repeat(200)));
        assert_ne!(inode(&b.path().join("2")), before);
    }

    #[test]
    fn what_has_another_name_or_more_than_content_is_not_written_again() {
        let (a, b) = pair();
        fs::hard_link(b.path().join("1"), b.path().join("other")).unwrap();
        copy(a.path(), b.path());
        assert_eq!(
            fs::read_to_string(b.path().join("other")).unwrap(),
            format!("old 1, {}", "y".repeat(200))
        );
        let (a, b) = pair();
        let file = fs::File::open(b.path().join("1")).unwrap();
        let marked = rustix::fs::fsetxattr(&file, "user.mark", b"1", rustix::fs::XattrFlags::empty());
        drop(file);
        // Not every file system has them.
        if marked.is_ok() {
            copy(a.path(), b.path());
            let file = fs::File::open(b.path().join("2")).unwrap();
            assert_eq!(flistxattr(&file, &mut [0u8; 0]), Ok(0));
        }
    }

    #[test]
    fn what_was_read_once_is_put_into_many_trees() {
        let (a, b) = pair();
        let (from, to) = (Root::open(a.path()).unwrap(), Root::open(b.path()).unwrap());
        let before = inode(&b.path().join("1"));
        fs::write(a.path().join("2"), "short").unwrap();
        fs::create_dir(a.path().join("d")).unwrap();
        fs::write(a.path().join("d/empty"), "").unwrap();
        let mut copies = Copies::new(&from, &to);
        for path in ["1", "2", "d/empty"] {
            copies.put(&Original::read(&from, path, 1000).unwrap().unwrap()).unwrap();
            assert_eq!(stat_entry(&to, path, true).unwrap(), stat_entry(&from, path, true).unwrap());
        }
        assert_eq!(inode(&b.path().join("2")), before);
        assert_eq!(Original::read(&from, "1", 100).unwrap(), None, "too large");
        assert_eq!(Original::read(&from, "d", 100).unwrap(), None, "a directory");
        assert!(Original::read(&from, "none", 100).unwrap_err().is_not_found());
    }

    #[test]
    fn in_another_directory_it_is_let_go() {
        let (a, b) = pair();
        for (dir, text) in [(a.path(), "new"), (b.path(), "old")] {
            fs::create_dir(dir.join("d")).unwrap();
            fs::write(dir.join("d/f"), text).unwrap();
        }
        let before = inode(&b.path().join("1"));
        // Its number is not given to another file as long as this leads to it.
        let _held = openat(CWD, b.path().join("1"), OFlags::PATH, Mode::empty()).unwrap();
        let (from, to) = (Root::open(a.path()).unwrap(), Root::open(b.path()).unwrap());
        let mut copies = Copies::new(&from, &to);
        copies.copy("1").unwrap();
        copies.copy("d/f").unwrap();
        assert_ne!(inode(&b.path().join("d/f")), before);
        assert_eq!(fs::read_dir(b.path()).unwrap().count(), 4, "no temporary is left there");
    }

    /// While the two contents replace one another again and again.
    #[test]
    fn a_reader_sees_the_old_file_or_the_new_one() {
        let (one, two, there) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = |c: &str, n: usize| c.repeat(n);
        let (ones, twos) = (text("1", 5000), text("2", 9000));
        for name in ["a", "b"] {
            fs::write(one.path().join(name), &ones).unwrap();
            fs::write(two.path().join(name), &twos).unwrap();
            fs::write(there.path().join(name), &ones).unwrap();
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = [0, 0];
                while !over.load(Ordering::SeqCst) {
                    for name in ["a", "b"] {
                        let text = fs::read_to_string(there.path().join(name)).unwrap();
                        assert!(text == ones || text == twos, "{} bytes of {:?}", text.len(), &text[..1]);
                        seen[usize::from(text == twos)] += 1;
                    }
                }
                seen
            });
            let roots = [&one, &two, &there].map(|dir| Root::open(dir.path()).unwrap());
            for _ in 0..400 {
                for from in &roots[..2] {
                    let mut copies = Copies::new(from, &roots[2]);
                    copies.copy("a").unwrap();
                    copies.copy("b").unwrap();
                }
            }
            over.store(true, Ordering::SeqCst);
            let seen = reader.join().unwrap();
            assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
        });
    }
}
