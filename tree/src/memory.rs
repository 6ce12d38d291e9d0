//! Memory that large trees take.

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
