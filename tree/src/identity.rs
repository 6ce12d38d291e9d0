//! What tells one entry of a file system from every other.

use rustix::fs::Stat;

/// What a directory is, whatever its name: device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// `st_dev`
    pub dev: u64,
    /// `st_ino`
    pub ino: u64,
}

/// Of what a `stat` call has answered.
pub(crate) fn identity_of(stat: &Stat) -> Identity {
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)] // dev_t is signed on macOS
    let dev = stat.st_dev as u64;
    Identity { dev, ino: stat.st_ino }
}
