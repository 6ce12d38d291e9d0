//! Whose turn it is to be reloaded.
//!
//! Invariant: of a container at most one reload is under way, and none waits for another container's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::container::runtime::ContainerId;

/// The turns of all containers. Those of which none is taken are forgotten.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<ContainerId, Weak<Turn<()>>>>>);

impl Turns {
    /// Waits until no other reload of the container is under way.
    pub(super) async fn of(&self, container: &ContainerId) -> OwnedMutexGuard<()> {
        self.turn(container).lock_owned().await
    }

    fn turn(&self, container: &ContainerId) -> Arc<Turn<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = all.get(container).and_then(Weak::upgrade) {
            return turn;
        }
        all.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::default());
        all.insert(container.clone(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::container::runtime::Scheme;

    fn container(id: &str) -> ContainerId {
        ContainerId { scheme: Scheme::Docker, id: id.to_owned() }
    }

    /// The attack: a reload with a long grace, on a node that others use.
    #[tokio::test]
    async fn a_reload_that_takes_its_time_holds_up_no_other_container() {
        let turns = Turns::default();
        let long = turns.of(&container("a")).await;
        assert!(turns.of(&container("b")).now_or_never().is_some());
        assert!(turns.of(&container("a")).now_or_never().is_none(), "its own waits");
        drop(long);
        assert!(turns.of(&container("a")).now_or_never().is_some());
        drop(turns.turn(&container("c")));
        assert_eq!(turns.0.lock().unwrap().len(), 1, "what nobody has taken is forgotten");
    }
}
