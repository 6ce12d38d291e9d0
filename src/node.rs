//! One node: the tunnel to its radar, the session on it, and the local port for BEP.
//!
//! One task a node owns the connection. It connects, opens the session (the lease), passes the ends
//! of attachments to whoever follows them, and on any break starts over with backoff. A folder never sees a half-open
//! connection: a [`Link`] is handed out only after the session is ready, and each link has its own number.

mod attachment;
mod bep_listener;
mod call_error;
mod connector;
mod identity;
mod link;
mod messages;
mod routes;
mod state;
mod sync;
mod wire;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, info_span};

use bep_listener::BepListener;
use connector::{Connector, Met};
use routes::Routes;

pub(crate) use attachment::Attachment;
pub(crate) use call_error::CallError;
pub(crate) use identity::SessionIdentity;
pub(crate) use link::{Link, look};
pub(crate) use messages::{AttachReply, AttachRequest, LookReply, ReloadReply, ReloadRequest, Reloaded};
pub(crate) use state::NodeState;

use crate::tunnel::PortForward;

/// A node in use. The connection ends when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    /// Where the local syncthing dials the node's syncthing, now and later.
    #[expect(dead_code, reason = "syncthing is to move large files through spools: docs/decisions/0011")]
    pub bep_address: watch::Receiver<SocketAddr>,
    state: watch::Receiver<NodeState>,
    routes: Arc<Routes>,
    _end: DropGuard,
}

impl Node {
    /// Follows the connection.
    pub(crate) fn state(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }

    /// Attaches a directory over a `link` of this node. Nothing is synced before it is opened.
    pub(crate) async fn attach(
        &self,
        link: Arc<Link>,
        request: &AttachRequest<'_>,
    ) -> Result<(Attachment, AttachReply), CallError> {
        Attachment::attach(link, request).await
    }

    /// Why radar ends one attachment, once it does.
    pub(crate) fn end_of(&self, attachment: &Attachment) -> oneshot::Receiver<String> {
        self.routes.end_of(attachment.id())
    }

    /// When radar was last heard of.
    pub(crate) fn last_contact(&self) -> Option<Timestamp> {
        self.routes.last_contact()
    }
}

/// All nodes in use, each connected once however many containers it has.
pub(crate) struct Nodes {
    client: Client,
    identity: SessionIdentity,
    live: Mutex<HashMap<String, Weak<Node>>>,
    met: Arc<Met>,
}

impl Nodes {
    /// No connection yet. `identity` is what radar is told about us.
    pub(crate) fn new(client: Client, identity: SessionIdentity) -> Arc<Self> {
        Arc::new(Self { client, identity, live: Mutex::default(), met: Arc::default() })
    }

    /// The handle of a node, connecting to it when nobody does yet.
    pub(crate) async fn get(&self, name: &str) -> std::io::Result<Arc<Node>> {
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
            bep_address: bep.address(),
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
