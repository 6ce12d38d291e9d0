//! What the threads of a process have open.
#![allow(unsafe_code)]

use ksync_procfs::{threads, writes_to};

/// `KCMP_FILES` (linux/kcmp.h).
const FILES: libc::c_int = 2;

/// Whether a process can write to the pipe. Each thread may have descriptors of its own (unshare(2), `CLONE_FILES`); one that is
/// gone has none.
pub(crate) fn writes(process: i32, pipe: u64) -> bool {
    // The first one may have ended before the others: then it has none, and shares none.
    let own = |tid: &i32| *tid == process || !shares(process, *tid);
    let threads = threads(process).unwrap_or_default();
    threads.into_iter().filter(own).any(|tid| writes_to(tid, pipe).unwrap_or(false))
}

/// Whether two threads have the same descriptors, as far as the kernel tells: kcmp(2).
fn shares(one: i32, other: i32) -> bool {
    // SAFETY: only numbers go in.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, FILES, 0, 0) == 0 }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::{os::fd::AsRawFd, sync::mpsc, thread};

    use super::writes;

    #[test]
    fn a_thread_with_descriptors_of_its_own_counts() {
        let me = i32::try_from(std::process::id()).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let pipe = ksync_procfs::pipe_end(me, reader.as_raw_fd()).unwrap().unwrap().pipe;
        assert!(writes(me, pipe));
        let (ready, is_ready) = mpsc::channel();
        let (end, may_end) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            // SAFETY: the thread takes a copy of all descriptors, and `writer` in it is closed by nobody else.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
            let copy = writer.as_raw_fd();
            ready.send(copy).unwrap();
            assert!(may_end.recv().is_err());
            drop(writer);
        });
        let descriptor = is_ready.recv().unwrap();
        // SAFETY: in this thread's table the descriptor is nobody's any more: its owner closes its own copy.
        assert_eq!(unsafe { libc::close(descriptor) }, 0);
        assert!(writes(me, pipe), "that of the thread");
        drop(end);
        thread.join().unwrap();
        assert!(!writes(me, pipe));
    }
}
