//! Files that are replaced as a whole: whoever reads one finds the old content or the new one.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use rand::RngExt;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::own::{replaced, walk};

/// Replaces a file's content: a temporary file in the target's directory, synced, renamed over it, and the directory
/// synced. A new file is 0600. Nothing is written by way of another user's symlink, nor over another's file.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let (dir, name) = walk(path)?;
    let mode = replaced(&dir, &name, path)?.map_or(0o600, |stat| stat.st_mode & 0o7777);
    let temp = format!(".ksync.{:016x}.tmp", rand::rng().random::<u64>());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(&dir, &temp, flags, Mode::RUSR | Mode::WUSR)?);
    let written = file
        .write_all(content)
        .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?))
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(rustix::fs::renameat(&dir, &temp, &dir, &name)?));
    if written.is_err() {
        // What can't be written is the error; that a part of it is left is none.
        let _ = rustix::fs::unlinkat(&dir, &temp, AtFlags::empty());
    }
    written?;
    // What a directory is walked through with can't be synced.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    File::from(rustix::fs::openat(&dir, ".", flags, Mode::empty())?).sync_all()
}
