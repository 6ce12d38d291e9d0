//! Whether a process is a proof that the API server has let somebody exec into a container (docs/decisions/0014).
//!
//! A program that radar has planted in the container says that it was started by `pods/exec`. Whoever is in the container can
//! start it, too, so what it says counts for nothing; what the kernel tells of it does. An exec with stdin has one thing that
//! nobody in a container can make: its descriptor 0 is a pipe whose other end is held by the container runtime's process
//! above it, outside of the container.
//!
//! | room | what it is for |
//! |---|---|
//! | `facts` | what `/proc` tells of such a process |
//! | `above` | the processes above it |
//! | `descriptors` | what a process has open |
//! | `verdict` | whether that is a proof, decided by the facts alone |
//! | `groups` | whether a control group is a pod's |
//!
//! Invariant: a fact that can't be read is no proof. Nothing that a process of the container writes about itself counts.

mod above;
mod descriptors;
mod facts;
mod groups;
mod verdict;

pub use facts::look;
pub use verdict::{Proof, Refusal, Seen, judge};

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
