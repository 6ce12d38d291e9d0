//! Mount namespaces: how a container's directory gets into radar's hands.
//!
//! Invariant: every step runs in a thread of its own that ends afterwards, with its own root and working
//! directory, so no other thread of radar ever stands in a container. What is cloned is made private before it
//! is attached anywhere, so that detaching it can't unmount the user's volumes. Everything inside a container is
//! hostile: below an attached directory no symlink is followed, on the way to it symlinks resolve inside the
//! container's own root.

mod clone;
pub(crate) mod directory;
mod error;
#[cfg(test)]
mod fake;
mod namespace;
pub(crate) mod plant;
#[cfg(test)]
mod tests;
mod write_test;

pub(crate) use error::Error;
pub(crate) use namespace::{has_root, identity_in_container, open_beneath};
