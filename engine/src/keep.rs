//! What is replaced or removed goes to a safe place first.

use std::{io, path::Path};

use ksync_merge::Keep;

/// Where what is replaced or removed is kept.
pub trait Keeper: std::fmt::Debug + Send + Sync + 'static {
    /// Whether a content of so many bytes can be kept now. What can't be kept is not replaced.
    fn has_room(&self, bytes: u64) -> io::Result<()>;

    /// Has `put` put the content of `path` into a directory that it is given, under that path, for `why`. The directory exists,
    /// and nothing stands there under that path. What `put` says of a failure comes back.
    fn keep(
        &self,
        why: Keep,
        path: &str,
        put: &mut dyn FnMut(&Path) -> Result<(), String>,
    ) -> Result<(), String>;
}
