//! What stands at a path, in short.

use ksync_merge::State;
use ksync_tree::Kind;

/// Whether a file or a symlink does.
pub(crate) fn is_file(state: &State) -> bool {
    state.as_ref().is_some_and(|entry| entry.kind != Kind::Dir)
}

/// The bytes of a file; none of anything else.
pub(crate) fn size(state: &State) -> u64 {
    state.as_ref().filter(|entry| entry.kind == Kind::File).map_or(0, |entry| entry.size)
}
