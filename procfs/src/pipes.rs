//! Ends of pipes among a thread's descriptors: the link `/proc/PID/fd/N`, and the flags in `fdinfo/N` (proc_pid_fd(5)).
//!
//! Invariant: two ends of one pipe have one number. The kernel gives a number again after 2^32 others.

use crate::{error::Error, fdinfo, read};

/// `O_ACCMODE`, and what of it `O_WRONLY` and `O_RDWR` are (asm-generic/fcntl.h).
const ACCESS: u32 = 0o3;
const WRITE_ONLY: u32 = 0o1;
const BOTH: u32 = 0o2;

/// One end of a pipe, or both in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipeEnd {
    /// The pipe's inode.
    pub pipe: u64,
    /// Whether it can be read from.
    pub reads: bool,
    /// Whether it can be written to.
    pub writes: bool,
}

/// The end of a pipe that a descriptor of a thread is; none where it is something else, a named one too.
pub fn pipe_end(tid: i32, descriptor: i32) -> Result<Option<PipeEnd>, Error> {
    let link = read::link(&format!("/proc/{tid}/fd/{descriptor}"))?;
    let number = link.to_str().and_then(|link| link.strip_prefix("pipe:[")?.strip_suffix(']')?.parse().ok());
    let Some(pipe) = number else { return Ok(None) };
    let access = fdinfo::flags(tid, descriptor)? & ACCESS;
    Ok(Some(PipeEnd { pipe, reads: access != WRITE_ONLY, writes: access == WRITE_ONLY || access == BOTH }))
}

/// Whether a thread has an end of a pipe that can be written to. What it closes meanwhile it does not have.
pub fn writes_to(tid: i32, pipe: u64) -> Result<bool, Error> {
    let writes = |descriptor: &i32| {
        pipe_end(tid, *descriptor).is_ok_and(|end| end.is_some_and(|end| end.pipe == pipe && end.writes))
    };
    Ok(fdinfo::descriptors(tid)?.iter().any(writes))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn both_ends_have_one_number_and_each_its_direction() {
        let me = i32::try_from(std::process::id()).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let end = |descriptor: i32| pipe_end(me, descriptor).unwrap();
        let (read, write) = (end(reader.as_raw_fd()).unwrap(), end(writer.as_raw_fd()).unwrap());
        assert_eq!((read.pipe, read.reads, read.writes), (write.pipe, true, false));
        assert_eq!((write.reads, write.writes), (false, true));
        assert!(writes_to(me, read.pipe).unwrap());
        let file = tempfile::tempfile().unwrap();
        assert_eq!(end(file.as_raw_fd()), None);
        drop(writer);
        assert!(!writes_to(me, read.pipe).unwrap());
    }
}
