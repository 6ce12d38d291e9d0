//! Why deletions were not applied, or not put back. What is not applied stays where it is.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub(in crate::local) enum Error {
    #[error(transparent)]
    Syncthing(#[from] syncthing::Error),
    #[error(transparent)]
    Tree(#[from] ksync_tree::Error),
    #[error("make `{path}`")]
    Kept { path: PathBuf, source: io::Error },
}
