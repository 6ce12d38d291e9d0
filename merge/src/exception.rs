//! What of a container is not simply like the local side.

use crate::{
    op::Op,
    state::{Known, State},
};

/// A path at which the container is not simply like the local side.
#[derive(Debug, Clone)]
pub(crate) struct Exception {
    pub(crate) there: State,
    pub(crate) known: Known,
    /// The operation that is under way, and what was known before it.
    pub(crate) flight: Option<(Op, Known)>,
    /// It has changed on its own, while nothing of this container came here.
    pub(crate) own: bool,
    pub(crate) failed: bool,
}

impl Exception {
    pub(crate) fn new(there: State, known: Known) -> Self {
        Self { there, known, flight: None, own: false, failed: false }
    }
}
