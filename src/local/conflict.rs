//! Conflicts: both sides changed one file while apart. Local content stays in place, the container's is kept.
//!
//! When syncthing lets the container's version win, it moves the local content to `NAME.sync-conflict-...`
//! and puts the other in its place. That is turned round here, after syncthing has finished with the file: the
//! container's content goes to `kept/`, the local content back under its name, and no conflict copy stays.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use ksync_tree::{Root, copy_entry, move_entry, stat_entry};

/// Why a conflict was not settled; its copy stays where it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Tree(#[from] ksync_tree::Error),
    #[error("make `{path}`")]
    Kept { path: PathBuf, source: io::Error },
}

/// Settles each of `copies` below `at`; returns the files' paths, and the first error.
pub(super) fn settle_all(at: &Path, kept: &Path, copies: BTreeSet<String>) -> (Vec<String>, Option<Error>) {
    let root = match Root::open(at) {
        Ok(root) => root,
        Err(error) => return (Vec::new(), Some(error.into())),
    };
    // A copy that was settled is noticed once more, as it goes.
    let there = |copy: &String| !matches!(stat_entry(&root, copy, false), Ok(None));
    let copies: Vec<String> = copies.into_iter().filter(there).collect();
    if copies.is_empty() {
        return (Vec::new(), None);
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(kept);
    if let Err(source) = made {
        return (Vec::new(), Some(Error::Kept { path: kept.to_owned(), source }));
    }
    let (mut settled, mut failed) = (Vec::new(), None);
    for copy in copies {
        match settle(&root, kept, &copy) {
            Ok(path) => settled.extend(path),
            Err(error) => failed = failed.or(Some(error.into())),
        }
    }
    (settled, failed)
}

/// Puts the local content of `copy` back in its place below `root`; what is there goes to `kept`. Returns the
/// path of the file, or none when the copy is gone already.
pub(super) fn settle(root: &Root, kept: &Path, copy: &str) -> Result<Option<String>, ksync_tree::Error> {
    let Some(syncthing::conflict::Copy { original: path, .. }) = syncthing::conflict::copy(copy) else {
        return Ok(None);
    };
    if stat_entry(root, copy, false)?.is_none() {
        return Ok(None);
    }
    // Between syncthing's two renames there is nothing: its second one would replace what was put back.
    let Some(remote) = stat_entry(root, &path, false)? else { return Ok(None) };
    copy_entry(root, &Root::open(kept)?, &path)?;
    if stat_entry(root, &path, false)?.as_ref() != Some(&remote) {
        // Edited again just now: that is the local content then, and the copy is kept instead.
        move_entry(root, copy, &Root::open(kept)?, copy)?;
        return Ok(Some(path));
    }
    move_entry(root, copy, root, &path)?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ksync_tree::Root;

    use super::settle;

    #[test]
    fn local_content_is_back_and_the_other_is_kept() {
        let (here, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let copy = "d/f.sync-conflict-20261122-163000-ABCDEF7.txt";
        fs::create_dir(here.path().join("d")).unwrap();
        fs::write(here.path().join("d/f.txt"), "remote").unwrap();
        fs::write(here.path().join(copy), "ours").unwrap();
        let root = Root::open(here.path()).unwrap();
        assert_eq!(settle(&root, kept.path(), copy).unwrap().as_deref(), Some("d/f.txt"));
        assert_eq!(fs::read_to_string(here.path().join("d/f.txt")).unwrap(), "ours");
        assert!(!here.path().join(copy).exists());
        assert_eq!(fs::read_to_string(kept.path().join("d/f.txt")).unwrap(), "remote");
        assert_eq!(settle(&root, kept.path(), copy).unwrap(), None);
    }
}
