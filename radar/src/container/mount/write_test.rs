//! A test whether a directory can be written: create a file, rename, remove.
//!
//! Invariant: nothing is left behind, whatever fails. Catches what no flag shows: what the container's own process may not
//! write, idmapped volumes (EOVERFLOW), full disks.

use std::os::fd::BorrowedFd;

use ksync_tree::{Root, TEMP_PREFIX, TEMP_SUFFIX};
use rand::RngExt;
use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};

use super::error::{Error, Refused};

/// Tries it in the directory `root`, called `path`, on a thread that works there; `who` is what the thread may do.
pub(super) fn run(root: &Root, path: &str, who: &str) -> Result<(), Error> {
    let failed = |operation, reason| Error::NotWritable { path: path.to_owned(), operation, reason };
    let _stay = root.enter("").map_err(|error| failed("begin", ksync_common::chain(&error)))?;
    let dir = root.base("");
    let number: u64 = rand::rng().random();
    let [first, second] = ["a", "b"].map(|letter| format!("{TEMP_PREFIX}{number:016x}{letter}{TEMP_SUFFIX}"));
    let result = steps(dir, &first, &second);
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
        Errno::PERM | Errno::ACCESS => Error::Denied(Refused::new("write in", path, who)),
        errno => failed(operation, reason(errno)),
    })
}

type Failed = (&'static str, Errno);

fn steps(dir: BorrowedFd<'_>, first: &str, second: &str) -> Result<(), Failed> {
    let on = |operation| move |errno| (operation, errno);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(openat(dir, first, flags, Mode::RUSR | Mode::WUSR).map_err(on("create"))?);
    renameat(dir, first, dir, second).map_err(on("rename"))?;
    unlinkat(dir, second, AtFlags::empty()).map_err(on("remove"))
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::OVERFLOW => {
            "the volume is mounted with other user ids (idmapped), which is not supported".into()
        }
        errno => errno.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ksync_tree::Root;

    use super::{reason, run};

    #[test]
    fn a_plain_directory_passes_and_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        run(&Root::open(dir.path()).unwrap(), "/x", "user 7").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_kernel_file_system_refuses_in_a_sentence() {
        let root = Root::open("/proc/self".as_ref()).unwrap();
        let error = run(&root, "/x", "user 7").unwrap_err().to_string();
        assert!(error.starts_with("can't create a file in `/x` in the container: "), "{error}");
        assert!(reason(rustix::io::Errno::OVERFLOW).contains("idmapped"));
    }
}
