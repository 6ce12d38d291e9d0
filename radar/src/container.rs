//! A container of this node: its runtime, its init process, its mounts, and the directory that a session holds in it.
//!
//! Invariant: everything inside a container is hostile. Nothing here knows of sessions' streams, folders or syncthing.

pub(crate) mod attachment;
pub(crate) mod init_process;
pub(crate) mod mount;
pub(crate) mod mountinfo;
pub(crate) mod power;
pub(crate) mod runtime;
pub(crate) mod watch;
