//! Syncing on this node: sessions, their folders, and the copies to the containers that follow.
//!
//! Invariant: one task owns all sessions and attachments (`registry`), one each folder (`folder`), one each attachment that
//! is open for ksync's own engine (`endpoints`); nothing is scanned, and nothing told of as gone, before the container's end
//! was ruled out (`root_check`).

pub(crate) mod endpoints;
pub(crate) mod fanout;
pub(crate) mod folder;
pub(crate) mod registry;
pub(crate) mod root_check;
pub(crate) mod scan;
pub(crate) mod session;
pub(crate) mod stage_times;
