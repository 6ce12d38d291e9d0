//! Files that are replaced as a whole: whoever reads one finds the old content or the new one.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Replaces a file's content: a temporary file in the target's directory, synced, renamed over it, and the directory
/// synced. A new file is 0600.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let target = resolve(path)?;
    let mode = match fs::metadata(&target) {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(e) if e.kind() == io::ErrorKind::NotFound => 0o600,
        Err(e) => return Err(e),
    };
    let dir = target.parent().unwrap_or(Path::new("/"));
    let mut temp = tempfile::Builder::new().prefix(".ksync.").suffix(".tmp").tempfile_in(dir)?;
    temp.write_all(content)?;
    temp.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    temp.as_file().sync_all()?;
    temp.persist(&target).map_err(|e| e.error)?;
    fs::File::open(dir)?.sync_all()
}

/// Where a path leads through symlinks, also when what the last one names does not exist yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symlinks"))
}
