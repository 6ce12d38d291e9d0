//! With which power radar works in a container's directory: that of an exec into the container, and no greater.
//!
//! | room | what it is for |
//! |---|---|
//! | `credential` | users, groups and capabilities as plain data, and where permissions are overridden |
//! | `thread` | threads that have them |
//! | `workers` | such threads, a few for each attachment |
//!
//! Invariant: a container's directory is read and written on threads of its attachment alone. What such a thread may not do,
//! the container's own process could not do either, but in the container's own root file system, where root's power over
//! permissions is kept, below the attached path.

mod credential;
mod thread;
mod workers;

pub(crate) use credential::{Credential, overrides};
pub(crate) use thread::ContainerPower;
#[cfg(test)]
pub(crate) use workers::MOST;
pub(crate) use workers::Workers;

#[cfg(test)]
mod tests;
