//! The watcher's way to the API server, which outlives credentials and connections: one client for all, whose
//! requests go by the newest way that there is.
//!
//! One task ([`CredentialRefresher`]) owns it. It asks for credentials ahead of their end, when the cluster refuses them, when the
//! kubeconfig changed and when somebody says that they may be there now; and it looks from time to time whether the
//! API server answers. Invariant: a request waits only until it is known whether there is a way, what has been going by
//! a way that is dead ends with it, and nobody is ever asked for anything.

mod credential_refresher;
mod switch;

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::ClusterConfig;
use credential_refresher::CredentialRefresher;
use switch::{State, Switch};

/// A way to the API server. Clones share it.
#[derive(Clone)]
pub(crate) struct Access {
    client: kube::Client,
    trouble: watch::Receiver<Option<String>>,
    wake: Arc<Notify>,
}

impl Access {
    /// Begins to look for a way, until `end`.
    pub(crate) fn open(cluster: ClusterConfig, end: CancellationToken) -> Self {
        let state_tx = watch::Sender::new(State::Unknown);
        let (refused_tx, refused_rx) = tokio::sync::mpsc::channel(1);
        let (trouble_tx, trouble) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        let namespace = cluster.namespace.clone();
        let client = kube::Client::new(Switch::new(state_tx.subscribe(), refused_tx), namespace);
        let refresher =
            CredentialRefresher::new(cluster, state_tx, refused_rx, trouble_tx, Arc::clone(&wake));
        tokio::spawn(end.run_until_cancelled_owned(refresher.run()));
        Self { client, trouble, wake }
    }

    /// A client that is good for as long as this lives.
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Why there is no way just now, or soon may be none; none while all is well.
    pub(crate) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// Somebody has just reached the cluster: looks at once where it would have waited.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}
