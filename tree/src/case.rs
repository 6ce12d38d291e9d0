//! Whether names that differ in upper and lower case are different names.

use crate::root::Root;

/// Whether every name of the root's own file system is told apart from one in other letters.
///
/// False also where it can't be known: what is told apart needs no care, what is not needs it for each name.
#[must_use]
pub fn is_case_sensitive(root: &Root) -> bool {
    sensitive(root)
}

/// By the kind of file system, and for those that can fold the case of single directories, the directory's flag.
#[cfg(target_os = "linux")]
fn sensitive(root: &Root) -> bool {
    /// Of `f_type`, from linux/magic.h: ext2 to ext4, XFS, Btrfs, overlay, tmpfs, f2fs; and OpenZFS's own.
    const KINDS: [u64; 7] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x794c_7630, 0x0102_1994, 0xf2f5_2010, 0x2fc1_2fc1];
    /// `FS_CASEFOLD_FL` of linux/fs.h.
    const CASEFOLD: u32 = 0x4000_0000;
    let Ok(stat) = rustix::fs::fstatfs(root) else { return false };
    #[allow(clippy::cast_sign_loss, reason = "a magic number of 32 bits, signed on some machines")]
    let kind = (stat.f_type as u64) & 0xffff_ffff;
    // Flags can be read from a descriptor for reading only; who has none folds nothing.
    let flags = root.reading().map(rustix::fs::ioctl_getflags);
    let folds = matches!(flags, Ok(Ok(flags)) if flags.bits() & CASEFOLD != 0);
    KINDS.contains(&kind) && !folds
}

#[cfg(not(target_os = "linux"))]
fn sensitive(_: &Root) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_agrees_with_what_the_file_system_does() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("name"), "").unwrap();
        let folds = dir.path().join("NAME").exists();
        let root = Root::open(dir.path()).unwrap();
        assert!(!(is_case_sensitive(&root) && folds), "names in other letters are found");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_not_known_is_not_trusted() {
        assert!(!is_case_sensitive(&Root::open("/proc".as_ref()).unwrap()));
        let memory = Root::open("/dev/shm".as_ref()).unwrap();
        assert!(is_case_sensitive(&memory), "tmpfs, without a flag");
    }
}
