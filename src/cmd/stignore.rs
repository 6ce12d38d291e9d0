//! A local directory's `.stignore` as the commands see it: the watcher's, which may be left behind, or somebody's own,
//! which is never changed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use ksync_tree::STIGNORE_HEADER;

use crate::{local, lock::DirLock, printer::UserError};

/// The file, if it is there and somebody else's.
pub(super) fn foreign(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(theirs(dir)?.map(|(path, _)| path))
}

/// Refuses somebody else's patterns that can't be used.
pub(super) fn usable(dir: &Path) -> anyhow::Result<()> {
    let Some((path, text)) = theirs(dir)? else { return Ok(()) };
    let text = String::from_utf8(text).with_context(|| format!("read `{}`", path.display()))?;
    match local::foreign_patterns(&path, &text) {
        Ok(_) => Ok(()),
        Err(local::PatternsError::Git { .. }) => {
            let message = format!(
                "`{}` lets `.git` through, and who writes there has programs run here",
                path.display()
            );
            Err(UserError::new(
                message,
                "put `.git` first in it, or `!.git` if the containers are to have it",
            )
            .into())
        }
        Err(error) => Err(error.into()),
    }
}

fn theirs(dir: &Path) -> anyhow::Result<Option<(PathBuf, Vec<u8>)>> {
    let path = dir.join(".stignore");
    let text = read(&path).with_context(|| format!("read `{}`", path.display()))?;
    Ok(text.filter(|text| !is_ours(text)).map(|text| (path, text)))
}

/// Removes what a watcher that has let go of the directory has left there; false while one has it. Nobody has a directory
/// that is gone.
pub(super) fn sweep(dir: &Path) -> anyhow::Result<bool> {
    let alone = if dir.is_dir() { DirLock::try_acquire(dir)?.map(Some) } else { Some(None) };
    if alone.is_some() {
        local::sweep(dir)?;
        return Ok(true);
    }
    // Who has it may be a watcher of another home, of a directory above this one.
    Ok(!read(&dir.join(".stignore"))?.is_some_and(|text| is_ours(&text)))
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

    use super::{DirLock, STIGNORE_HEADER, foreign, sweep};

    #[test]
    fn only_what_a_watcher_wrote_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".stignore");
        assert!(sweep(dir.path()).unwrap());
        assert!(sweep(&dir.path().join("none")).unwrap());
        assert_eq!(foreign(dir.path()).unwrap(), None);
        for (text, ours) in
            [(format!("{STIGNORE_HEADER}\n.git\n"), true), (format!("x\n{STIGNORE_HEADER}\n"), false)]
        {
            fs::write(&path, text).unwrap();
            let held = DirLock::try_acquire(dir.path()).unwrap();
            assert_eq!(sweep(dir.path()).unwrap(), !ours, "a watcher that has the directory removes its own");
            assert!(path.exists());
            drop(held);
            assert_eq!(foreign(dir.path()).unwrap().is_none(), ours);
            assert!(sweep(dir.path()).unwrap());
            assert_eq!(path.exists(), !ours);
        }
    }
}
