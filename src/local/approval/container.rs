//! The container that a person is asked about. Invariant: it says all that the question and its answer need.

use serde::{Deserialize, Serialize};

/// One container of one spec. Several specs may mean the same container.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ContainerRef {
    /// The spec's name.
    pub spec: String,
    /// The container's id, with its runtime's scheme.
    pub container: String,
    /// The name of its pod.
    pub pod: String,
}
