//! A local directory's `.stignore` as the commands see it: the watcher's, which may be left behind, or somebody's own,
//! which is never changed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ksync_tree::ignore::STIGNORE_HEADER;

use crate::lock::DirLock;

/// The file, if it is there and somebody else's.
pub(super) fn foreign(dir: &Path) -> io::Result<Option<PathBuf>> {
    let path = dir.join(".stignore");
    Ok(read(&path)?.filter(|text| !is_ours(text)).map(|_| path))
}

/// Removes the file if a watcher wrote it that has let go of the directory.
pub(super) fn remove_ours(dir: &Path) -> io::Result<()> {
    let path = dir.join(".stignore");
    if !read(&path)?.is_some_and(|text| is_ours(&text)) {
        return Ok(());
    }
    match DirLock::try_acquire(dir).map_err(io::Error::other)? {
        Some(_alone) => fs::remove_file(path),
        None => Ok(()),
    }
}

fn is_ours(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').next() == Some(STIGNORE_HEADER.as_bytes())
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{DirLock, STIGNORE_HEADER, foreign, remove_ours};

    #[test]
    fn only_what_a_watcher_wrote_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".stignore");
        assert_eq!(foreign(dir.path()).unwrap(), None);
        remove_ours(dir.path()).unwrap();
        remove_ours(&dir.path().join("none")).unwrap();
        for (text, ours) in
            [(format!("{STIGNORE_HEADER}\n.git\n"), true), (format!("x\n{STIGNORE_HEADER}\n"), false)]
        {
            fs::write(&path, text).unwrap();
            let held = DirLock::try_acquire(dir.path()).unwrap();
            remove_ours(dir.path()).unwrap();
            assert!(path.exists(), "a watcher that has the directory needs it");
            drop(held);
            assert_eq!(foreign(dir.path()).unwrap().is_none(), ours);
            remove_ours(dir.path()).unwrap();
            assert_eq!(path.exists(), !ours);
        }
    }
}
