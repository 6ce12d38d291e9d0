//! Syncing on this node: sessions, what they hold, and the endpoints by which that is synced.
//!
//! Invariant: one task owns all sessions and attachments (`registry`), one each attachment that is open (`endpoints`); nothing
//! is told of as gone before the container's end was ruled out (`endpoints/checks`).

pub(crate) mod endpoints;
pub(crate) mod registry;
pub(crate) mod session;
pub(crate) mod spools;
