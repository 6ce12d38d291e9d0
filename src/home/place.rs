//! What the file system says about a directory: whose it is, and whether it is on this machine.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use super::error::Error;

pub(super) fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a directory and what is missing above it, private; one that exists is left as it is.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| Error::Io {
        operation: "create",
        path: path.to_owned(),
        source,
    })
}

/// Makes a directory that only its user can enter. One that exists must be the user's own (not a symlink to
/// another place either), and is closed to others.
pub(crate) fn private_dir(path: &Path) -> Result<(), Error> {
    let failed = |operation| move |source| Error::Io { operation, path: path.to_owned(), source };
    let refused = |reason| Error::NotPrivate { path: path.to_owned(), reason };
    make_dir(path.parent().unwrap_or(path))?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(failed("create")(e)),
    }
    let metadata = fs::symlink_metadata(path).map_err(failed("stat"))?;
    if !metadata.is_dir() {
        return Err(refused("it is not a directory"));
    }
    if metadata.uid() != uid() {
        return Err(refused("it belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed("close"))?;
    }
    Ok(())
}

/// Whether the path, or the nearest directory above it that exists, is on a network file system: locks, sockets and
/// databases don't belong there, and other machines see it too.
pub(super) fn is_network(path: &Path) -> bool {
    path.ancestors().find_map(|above| rustix::fs::statfs(above).ok()).is_some_and(|stat| network(&stat))
}

/// By the magic numbers of linux/magic.h. FUSE is left out: it may as well be a local encrypted home.
#[cfg(target_os = "linux")]
fn network(stat: &rustix::fs::StatFs) -> bool {
    const NETWORK: &[u32] = &[
        0x6969,      // NFS
        0x517B,      // SMB
        0xFF53_4D42, // CIFS
        0xFE53_4D42, // SMB2
        0x0102_1997, // 9P
        0x5346_414F, // AFS
        0x6B41_4653, // kAFS
        0x00C3_6400, // Ceph
        0x7375_7245, // Coda
        0x0BD0_0BD0, // Lustre
        0x4750_4653, // GPFS
    ];
    // The field's width and sign differ between platforms, the numbers have 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let magic = stat.f_type as u32;
    NETWORK.contains(&magic)
}

#[cfg(not(target_os = "linux"))]
fn network(stat: &rustix::fs::StatFs) -> bool {
    const MNT_LOCAL: u32 = 0x1000; // sys/mount.h
    stat.f_flags & MNT_LOCAL == 0
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::private_dir;

    #[test]
    fn only_a_directory_of_ones_own_is_private() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(private_dir(&dir.path().join("link")).is_err());
        assert!(private_dir(&dir.path().join("file")).is_err());
        assert!(private_dir(&dir.path().join("real")).is_ok());
        assert!(private_dir(&dir.path().join("new/deeper")).is_ok());
    }
}
