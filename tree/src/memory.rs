//! Memory that was taken for a large tree.

/// Gives what is free back to the system. glibc keeps it in the holes that the many threads which list trees leave: with
/// thirty containers of 10,000 files, 100 MB of which 7 were in use. Takes some milliseconds; other allocators need no
/// telling. Source: malloc_trim(3).
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a call of the C library that takes no pointers")]
    // SAFETY: it may be called at any time and from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has all threads take memory from two pools. glibc would make one for each of the threads that list and copy trees, up to
/// eight for each processor, and what is free in one can't be used by another. To be called before there are threads.
/// Source: mallopt(3).
pub fn share() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a call of the C library that takes no pointers")]
    // SAFETY: it may be called at any time and from any thread.
    unsafe {
        // Where it fails, things stay as they were.
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn what_is_free_between_what_is_used_is_given_back() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
        };
        // 64 MB in small pieces, of which every hundredth stays.
        let pieces: Vec<Option<Vec<u8>>> = (0..64 * 1024).map(|_| Some(vec![1; 1024])).collect();
        let kept: Vec<Option<Vec<u8>>> =
            pieces.into_iter().enumerate().map(|(at, piece)| piece.filter(|_| at % 100 == 0)).collect();
        let before = resident();
        super::give_back();
        assert!(resident() + 32 * 1024 < before, "{} of {before} kB", resident());
        drop(kept);
    }
}
