//! One node: the tunnel to its radar, the session on it, and the local port for BEP.
//!
//! One task a node owns the connection. It connects, opens the session (the lease), passes radar's events
//! to whoever asked for them, and on any break starts over with backoff. A folder never sees a half-open
//! connection: a [`Link`] is handed out only after the session is ready, and each link has its own number.

mod bep_listener;
mod compare_permits;
mod link;
mod settle_dedup;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, info, info_span, warn};

use bep_listener::BepListener;
pub use compare_permits::{ComparePermit, ComparePermits, Patience};
pub use link::{Link, SessionIdentity, look};

use crate::tunnel::{PortForward, Tunnel};
use ksync_common::Backoff;

/// What radar tells about one attachment.
pub type AttachmentEvent = ksync_proto::radar::session_event::Event;

/// Where the connection to a node stands.
#[derive(Debug, Clone)]
pub enum NodeState {
    /// Not connected; why, once it is known.
    Down {
        /// A sentence, empty before the first try is over.
        reason: String,
        /// Whether a person must put it right; else it is the network, and heals by itself.
        broken: bool,
    },
    /// Connected, session ready.
    Up(Arc<Link>),
}

/// A node in use. The connection ends when the last handle is dropped.
#[derive(Debug)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// Where the local syncthing dials the node's syncthing, now and later.
    pub bep_address: watch::Receiver<SocketAddr>,
    /// Which containers are made equal now.
    pub compare_permits: ComparePermits,
    state: watch::Receiver<NodeState>,
    routes: Arc<Routes>,
    _end: DropGuard,
}

impl Node {
    /// Follows the connection.
    pub fn state(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }

    /// radar's events about one attachment, from now on.
    pub fn events_of(&self, attachment_id: &str) -> mpsc::UnboundedReceiver<AttachmentEvent> {
        let (tx, rx) = mpsc::unbounded_channel();
        self.routes.lock().attachments.insert(attachment_id.to_owned(), tx);
        rx
    }

    /// When radar was last heard of.
    pub fn last_contact(&self) -> Option<Timestamp> {
        self.routes.lock().last_contact
    }
}

#[derive(Debug, Default)]
struct RouteTable {
    attachments: HashMap<String, mpsc::UnboundedSender<AttachmentEvent>>,
    last_contact: Option<Timestamp>,
}

/// Where events go. Only ever locked for a look or a change, never across an await.
#[derive(Debug, Default)]
struct Routes(Mutex<RouteTable>);

impl Routes {
    fn lock(&self) -> std::sync::MutexGuard<'_, RouteTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contact(&self) {
        self.lock().last_contact = Some(Timestamp::now());
    }

    /// Passes an event on; one for nobody is dropped, its attachment has ended.
    fn deliver(&self, event: AttachmentEvent) {
        use AttachmentEvent as E;
        let id = match &event {
            E::ItemFinished(e) => &e.attachment_id,
            E::ContainerChange(e) => &e.attachment_id,
            E::AttachmentEnded(e) => &e.attachment_id,
            E::EventsMissed(e) => &e.attachment_id,
            E::Ready(_) | E::SessionEnded(_) => return,
        };
        let id = id.clone();
        let mut table = self.lock();
        if table.attachments.get(&id).is_some_and(|tx| tx.send(event).is_err()) {
            table.attachments.remove(&id);
        }
    }
}

/// Nodes whose radar knows this process: only the first session on a node is a new run's, which lets go of all that an
/// earlier one left. A handle that is dropped and made again is none.
#[derive(Debug, Default)]
struct Met(Mutex<HashSet<String>>);

impl Met {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_first(&self, node: &str) -> bool {
        !self.lock().contains(node)
    }

    fn note(&self, node: &str) {
        self.lock().insert(node.to_owned());
    }
}

/// All nodes in use, each connected once however many containers it has.
pub struct Nodes {
    client: Client,
    identity: SessionIdentity,
    live: Mutex<HashMap<String, Weak<Node>>>,
    met: Arc<Met>,
}

impl Nodes {
    /// No connection yet. `identity` is what radar is told about us.
    pub fn new(client: Client, identity: SessionIdentity) -> Arc<Self> {
        Arc::new(Self { client, identity, live: Mutex::default(), met: Arc::default() })
    }

    /// The handle of a node, connecting to it when nobody does yet.
    pub async fn get(&self, name: &str) -> std::io::Result<Arc<Node>> {
        if let Some(node) = self.find(name) {
            return Ok(node);
        }
        let bep = BepListener::open().await?;
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = live.get(name).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let end = CancellationToken::new();
        let routes = Arc::new(Routes::default());
        let (state_tx, state) = watch::channel(NodeState::Down { reason: String::new(), broken: false });
        let node = Arc::new(Node {
            name: name.to_owned(),
            bep_address: bep.address(),
            compare_permits: ComparePermits::new(),
            state: state.clone(),
            routes: Arc::clone(&routes),
            _end: end.clone().drop_guard(),
        });
        live.insert(name.to_owned(), Arc::downgrade(&node));
        let span = info_span!(parent: None, "node", name);
        let tunnel = PortForward::new(self.client.clone(), name);
        let connector = Connector {
            node: name.to_owned(),
            tunnel,
            identity: self.identity.clone(),
            met: Arc::clone(&self.met),
            routes,
            state_tx,
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(connector.run()).instrument(span.clone()));
        tokio::spawn(end.run_until_cancelled_owned(bep.serve(state)).instrument(span));
        Ok(node)
    }

    fn find(&self, name: &str) -> Option<Arc<Node>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).get(name).and_then(Weak::upgrade)
    }
}

/// The task that keeps a node connected.
struct Connector {
    node: String,
    tunnel: Arc<dyn Tunnel>,
    identity: SessionIdentity,
    met: Arc<Met>,
    routes: Arc<Routes>,
    state_tx: watch::Sender<NodeState>,
}

impl Connector {
    async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
        loop {
            let fresh = self.met.is_first(&self.node);
            let (reason, broken) = match link::connect(&*self.tunnel, &self.identity, fresh).await {
                Ok((link, session)) => {
                    self.met.note(&self.node);
                    info!(link = link.number, radar = link.radar_version, "connected");
                    self.routes.contact();
                    self.state_tx.send_replace(NodeState::Up(Arc::new(link)));
                    backoff.reset();
                    let end = session.pump(|event| {
                        self.routes.contact();
                        self.routes.deliver(event);
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
