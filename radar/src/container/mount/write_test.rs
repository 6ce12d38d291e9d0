//! A test whether a directory can be written: create a file, change its owner, rename, remove.
//!
//! Invariant: nothing is left behind, whatever fails. Catches what no flag shows: idmapped volumes (EOVERFLOW),
//! NFS with root_squash (EPERM on chown), full disks.

use std::os::fd::{AsFd, OwnedFd};

use ksync_tree::{TEMP_PREFIX, TEMP_SUFFIX};
use rand::RngExt;
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid, fchown, openat, renameat, unlinkat},
    io::Errno,
};

use super::error::Error;

/// Tries it in the directory `dir`, called `path`, with its owner.
pub(super) fn run(dir: &OwnedFd, path: &str, uid: u32, gid: u32) -> Result<(), Error> {
    let number: u64 = rand::rng().random();
    let [first, second] = ["a", "b"].map(|letter| format!("{TEMP_PREFIX}{number:016x}{letter}{TEMP_SUFFIX}"));
    let result = steps(dir.as_fd(), &first, &second, uid, gid);
    if result.is_err() {
        for name in [&first, &second] {
            match unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => tracing::warn!(path, name, %errno, "remove the write test's file"),
            }
        }
    }
    result.map_err(|(operation, errno)| match errno {
        Errno::ROFS => Error::ReadOnly { path: path.to_owned() },
        errno => Error::NotWritable { path: path.to_owned(), operation, reason: reason(errno) },
    })
}

type Failed = (&'static str, Errno);

fn steps(
    dir: std::os::fd::BorrowedFd<'_>,
    first: &str,
    second: &str,
    uid: u32,
    gid: u32,
) -> Result<(), Failed> {
    let on = |operation| move |errno| (operation, errno);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, first, flags, Mode::RUSR | Mode::WUSR).map_err(on("create"))?;
    fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(on("change the owner of"))?;
    renameat(dir, first, dir, second).map_err(on("rename"))?;
    unlinkat(dir, second, AtFlags::empty()).map_err(on("remove"))
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::OVERFLOW => {
            "the volume is mounted with other user ids (idmapped), which is not supported".into()
        }
        Errno::PERM | Errno::ACCESS => {
            format!("{errno}; a network volume may refuse root (root_squash)")
        }
        errno => errno.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::{reason, run};

    #[test]
    fn a_plain_directory_passes_and_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        run(&fd, "/x", uid, gid).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_kernel_file_system_refuses_in_a_sentence() {
        let fd = rustix::fs::open("/proc/self", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let error = run(&fd, "/x", 0, 0).unwrap_err().to_string();
        assert!(error.starts_with("can't create a file in `/x` in the container: "), "{error}");
        assert!(reason(rustix::io::Errno::OVERFLOW).contains("idmapped"));
    }
}
