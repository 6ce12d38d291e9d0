//! Open files of a process, from `/proc/PID/fdinfo/N` (proc_pid_fdinfo(5)): their flags, and what an inotify queue
//! watches.
//!
//! Invariant: two marks are of one file exactly when the kernel says so: they are only ever compared with each other.

use std::os::fd::{AsFd, AsRawFd};

use crate::{error::Error, read};

/// `O_CLOEXEC` of both machines (asm-generic/fcntl.h).
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// A watched file or directory, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InotifyMark {
    /// Inode and device, in the kernel's own form: what stat(2) gives on an overlay or a btrfs need not be that.
    pub file: (u64, u64),
    /// Which events (inotify(7)).
    pub mask: u32,
}

/// The numbers of a process's descriptors.
pub fn descriptors(tid: i32) -> Result<Vec<i32>, Error> {
    read::numbers(&format!("/proc/{tid}/fdinfo"))
}

/// Whether an execve closes a descriptor.
pub fn closes_on_exec(tid: i32, descriptor: i32) -> Result<bool, Error> {
    read::text(&format!("/proc/{tid}/fdinfo/{descriptor}")).map(|info| is_close_on_exec(&info))
}

/// What all inotify queues of a process watch; nothing when the process has ended.
pub fn inotify_marks(pid: i32) -> Vec<InotifyMark> {
    let descriptors = read::numbers(&format!("/proc/{pid}/fd")).unwrap_or_default();
    let is_queue = |fd: &i32| {
        read::link(&format!("/proc/{pid}/fd/{fd}")).is_ok_and(|to| to.ends_with("anon_inode:inotify"))
    };
    let infos = descriptors.into_iter().filter(is_queue);
    let infos = infos.filter_map(|fd| read::text(&format!("/proc/{pid}/fdinfo/{fd}")).ok());
    infos.flat_map(|info| marks(&info)).collect()
}

/// What an inotify queue of this process watches.
pub fn own_inotify_marks(queue: impl AsFd) -> Result<Vec<InotifyMark>, Error> {
    let path = format!("/proc/self/fdinfo/{}", queue.as_fd().as_raw_fd());
    read::text(&path).map(|info| marks(&info))
}

/// The flags with which a descriptor was opened (open(2)); none where the kernel does not tell.
pub(crate) fn flags(tid: i32, descriptor: i32) -> Result<u32, Error> {
    read::text(&format!("/proc/{tid}/fdinfo/{descriptor}")).map(|info| flags_in(&info).unwrap_or_default())
}

fn is_close_on_exec(info: &str) -> bool {
    flags_in(info).is_some_and(|flags| flags & CLOSE_ON_EXEC != 0)
}

/// Reads the flags, which are octal.
fn flags_in(info: &str) -> Option<u32> {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(flags.trim(), 8).ok()
}

/// Reads all lines such as `inotify wd:1 ino:2f sdev:800013 mask:3ce ignored_mask:0 ...`; all numbers are hexadecimal.
fn marks(info: &str) -> Vec<InotifyMark> {
    let mark = |line: &str| {
        let field = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))?;
            u64::from_str_radix(value, 16).ok()
        };
        let mask = u32::try_from(field("mask")?).ok()?;
        Some(InotifyMark { file: (field("ino")?, field("sdev")?), mask })
    };
    info.lines().filter(|line| line.starts_with("inotify ")).filter_map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::{InotifyMark, is_close_on_exec, marks};

    #[test]
    fn each_line_is_a_mark() {
        let info = "pos:\t0\nflags:\t02004000\nmnt_id:\t16\nino:\t1057\n\
            inotify wd:2 ino:7ed5f sdev:800002 mask:3ce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:5f\n\
            inotify wd:1 ino:1a sdev:2b mask:2\n";
        let expected = [
            InotifyMark { file: (0x7_ed5f, 0x80_0002), mask: 0x3ce },
            InotifyMark { file: (0x1a, 0x2b), mask: 2 },
        ];
        assert_eq!(marks(info), expected);
        assert!(is_close_on_exec(info) && !is_close_on_exec("pos:\t0\nflags:\t0100002\n"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn descriptors_of_this_process_are_found_with_their_flags() {
        use std::os::fd::AsRawFd;
        let me = i32::try_from(std::process::id()).unwrap();
        let file = tempfile::tempfile().unwrap();
        let fd = file.as_raw_fd();
        assert!(super::descriptors(me).unwrap().contains(&fd));
        assert!(super::closes_on_exec(me, fd).unwrap());
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        assert!(!super::closes_on_exec(me, fd).unwrap());
    }

    #[test]
    fn no_text_breaks_it() {
        let text = "pos:\t0\nflags:\t02004000\nmnt_id:\t16\n\
            inotify wd:2 ino:7ed5f sdev:800002 mask:3ce ignored_mask:0 fhandle-bytes:8\n";
        ksync_mangle::each_text(&[text], |text| {
            assert!(marks(text).len() <= text.lines().count());
            let _ = is_close_on_exec(text);
        });
    }
}
