//! Whether names that differ in upper and lower case are different names.

use rustix::{
    fs::{AtFlags, statat},
    io::Errno,
};

use crate::root::Root;

/// Whether names in other letters are other names in this directory. `witness` is the name of something in it, with
/// letters.
///
/// False also where it can't be known: what is told apart needs no care, what is not needs it for each name. Not seen are
/// directories further down whose own flag folds case (`chattr +F`), and other file systems that are mounted there.
#[must_use]
pub fn is_case_sensitive(root: &Root, witness: &str) -> bool {
    let there = |name: &str| match statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Some(true),
        Err(Errno::NOENT) => Some(false),
        Err(_) => None,
    };
    match (there(witness), there(&witness.to_ascii_uppercase())) {
        // The other name could be something of its own, which is no proof of anything.
        (_, Some(true) | None) | (None, _) => false,
        (Some(seen), Some(false)) => by_kind(root, seen),
    }
}

#[cfg(target_os = "linux")]
fn by_kind(root: &Root, seen: bool) -> bool {
    let Ok(stat) = rustix::fs::fstatfs(root) else { return false };
    // Flags can't be read from a descriptor that is for going through only.
    let flags = match root.reading().map(rustix::fs::ioctl_getflags) {
        Ok(flags) => flags.map(|flags| flags.bits()),
        Err(_) => Err(Errno::ACCESS),
    };
    #[allow(clippy::cast_sign_loss, reason = "a magic number of 32 bits, signed on some machines")]
    tells_apart((stat.f_type as u64) & 0xffff_ffff, flags, seen)
}

#[cfg(not(target_os = "linux"))]
fn by_kind(_: &Root, _: bool) -> bool {
    false
}

/// From the kind of file system (`f_type`), the directory's flags, and whether a name was seen not to be found in other
/// letters.
#[cfg(target_os = "linux")]
fn tells_apart(kind: u64, flags: Result<u32, Errno>, seen: bool) -> bool {
    /// linux/magic.h: ext2 to ext4, Btrfs, overlay, tmpfs, f2fs. Where they fold case, a directory's flag says so.
    const BY_FLAG: [u64; 5] = [0xef53, 0x9123_683e, 0x794c_7630, 0x0102_1994, 0xf2f5_2010];
    /// XFS and OpenZFS fold case as a whole or not at all, and no flag says it.
    const AS_A_WHOLE: [u64; 2] = [0x5846_5342, 0x2fc1_2fc1];
    /// `FS_CASEFOLD_FL` of linux/fs.h.
    const CASEFOLD: u32 = 0x4000_0000;
    let folds = match flags {
        Ok(flags) => flags & CASEFOLD != 0,
        // It has no flags.
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => false,
        Err(_) => true,
    };
    !folds && (BY_FLAG.contains(&kind) || (seen && AS_A_WHOLE.contains(&kind)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::fs;

    const EXT4: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const CIFS: u64 = 0xff53_4d42;

    #[test]
    fn only_what_is_known_to_tell_names_apart_does() {
        for (kind, flags, seen, apart) in [
            (EXT4, Ok(0), false, true),
            (EXT4, Ok(0x0008_0000), false, true),
            (EXT4, Ok(0x4000_0000), true, false),
            (EXT4, Err(Errno::NOTTY), false, true),
            (EXT4, Err(Errno::ACCESS), true, false),
            (XFS, Ok(0), true, true),
            (XFS, Ok(0), false, false),
            (CIFS, Err(Errno::NOTTY), true, false),
        ] {
            assert_eq!(tells_apart(kind, flags, seen), apart, "{kind:#x} {flags:?} {seen}");
        }
    }

    #[test]
    fn a_name_that_is_there_in_other_letters_is_no_proof() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let before = is_case_sensitive(&root, "name");
        fs::write(dir.path().join("name"), "").unwrap();
        assert_eq!(is_case_sensitive(&root, "name"), before);
        fs::write(dir.path().join("NAME"), "").unwrap();
        assert!(!is_case_sensitive(&root, "name"));
    }

    #[test]
    fn an_unknown_kind_is_not_trusted() {
        assert!(!is_case_sensitive(&Root::open("/proc".as_ref()).unwrap(), "version"));
    }
}
