//! The task that keeps a node connected: it connects, opens the session, passes ends of attachments on, and starts over when that ends.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ksync_common::Backoff;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{identity::SessionIdentity, link, routes::Routes, spool::Spool, state::NodeState};
use crate::tunnel::Tunnel;

/// Nodes whose radar knows this process: only the first session on a node is a new run's, which lets go of all that an
/// earlier one left. A handle that is dropped and made again is none.
#[derive(Debug, Default)]
pub(super) struct Met(Mutex<HashSet<String>>);

impl Met {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_first(&self, node: &str) -> bool {
        !self.lock().contains(node)
    }

    fn note(&self, node: &str) {
        self.lock().insert(node.to_owned());
    }
}

/// What it takes to keep a node connected.
pub(super) struct Connector {
    pub(super) node: String,
    pub(super) tunnel: Arc<dyn Tunnel>,
    pub(super) identity: SessionIdentity,
    pub(super) met: Arc<Met>,
    pub(super) routes: Arc<Routes>,
    pub(super) spool: Arc<Spool>,
    pub(super) state_tx: watch::Sender<NodeState>,
}

impl Connector {
    /// Connects again and again, until it is dropped.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        loop {
            let fresh = self.met.is_first(&self.node);
            let (reason, broken) =
                match link::connect(&*self.tunnel, &self.identity, fresh, &self.spool).await {
                    Ok((link, session)) => {
                        self.met.note(&self.node);
                        info!(link = link.number, radar = link.radar_version, "connected");
                        self.routes.contact();
                        self.state_tx.send_replace(NodeState::Up(Arc::new(link)));
                        backoff.reset();
                        let end = session.pump(|ended| {
                            self.routes.contact();
                            if let Some((attachment_id, reason)) = ended {
                                self.routes.ended(&attachment_id, reason);
                            }
                        });
                        (end.await, false)
                    }
                    Err(error) => (error.sentence(), error.is_broken()),
                };
            warn!(reason, "not connected");
            self.state_tx.send_replace(NodeState::Down { reason, broken });
            backoff.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Met;

    #[test]
    fn only_the_first_session_on_each_node_is_a_new_run() {
        let met = Met::default();
        assert!(met.is_first("a") && met.is_first("a"), "asking is no session");
        met.note("a");
        assert!(!met.is_first("a") && met.is_first("b"));
    }
}
