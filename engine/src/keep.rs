//! What is replaced or removed goes to a safe place first.

use std::{io, path::PathBuf};

use ksync_merge::Keep;

/// Where what is replaced or removed is kept.
pub trait Keeper: std::fmt::Debug + Send + Sync + 'static {
    /// Whether a content of so many bytes can be kept now. What can't be kept is not replaced.
    fn has_room(&self, bytes: u64) -> io::Result<()>;

    /// The directory below which the content of a path is to be put, under that path. It exists.
    fn place(&self, why: Keep) -> io::Result<PathBuf>;

    /// The content of `path` is in its place, for `why`.
    fn kept(&self, why: Keep, path: &str);
}
