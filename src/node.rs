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
mod large_file;
mod link;
mod look;
mod messages;
mod proofs;
mod prover;
mod routes;
mod spool;
mod spool_keeper;
mod state;
mod sync;
mod wire;

use std::{
    collections::HashMap,
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, info_span};

use bep_listener::BepListener;
use connector::{Connector, Met};
use prover::Prover;
use routes::Routes;
use spool::Spool;
use spool_keeper::{Devices, SpoolKeeper};

pub(crate) use attachment::Attachment;
pub(crate) use call_error::CallError;
pub(crate) use identity::SessionIdentity;
pub(crate) use large_file::{LargeFile, NotASize};
pub(crate) use link::Link;
pub(crate) use look::look;
pub(crate) use messages::{AttachReply, AttachRequest, LookReply, ReloadReply, ReloadRequest, Reloaded};
pub(crate) use state::NodeState;

use crate::{local::LocalSyncthing, targets::RemoteContainer, tunnel::PortForward};

/// A node in use. The connection ends when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    state: watch::Receiver<NodeState>,
    routes: Arc<Routes>,
    prover: Prover,
    _end: DropGuard,
}

impl Node {
    /// Follows the connection.
    pub(crate) fn state(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }

    /// Attaches a directory over a `link` of this node, once it is proved that we may exec into its container. Nothing is
    /// synced before it is opened.
    pub(crate) async fn attach(
        &self,
        link: Arc<Link>,
        request: &AttachRequest<'_>,
    ) -> Result<(Attachment, AttachReply), CallError> {
        self.prover.prove(&link, request.container).await?;
        Attachment::attach(link, request).await
    }

    /// Has what is attached in the container stand for longer than a proof does.
    pub(crate) async fn keep_proved(
        &self,
        attachment: &Attachment,
        container: &RemoteContainer,
    ) -> Infallible {
        self.prover.keep(attachment.link(), container).await
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
    syncthing: Arc<LocalSyncthing>,
    /// Directory of all spools.
    spools: PathBuf,
    large_file: LargeFile,
    devices: Arc<Devices>,
}

impl Nodes {
    /// No connection yet. `identity` is what radar is told about us; large files go through `syncthing` in directories below
    /// `spools`.
    pub(crate) fn new(
        client: Client,
        identity: SessionIdentity,
        syncthing: Arc<LocalSyncthing>,
        spools: PathBuf,
        large_file: LargeFile,
    ) -> Arc<Self> {
        let (live, met, devices) = (Mutex::default(), Arc::default(), Arc::default());
        Arc::new(Self { client, identity, live, met, syncthing, spools, large_file, devices })
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
            state: state.clone(),
            routes: Arc::clone(&routes),
            prover: Prover::new(self.client.clone()),
            _end: end.clone().drop_guard(),
        });
        live.insert(name.to_owned(), Arc::downgrade(&node));
        let span = info_span!(parent: None, "node", name);
        let spool = Arc::new(Spool::new(self.large_file));
        let tunnel = PortForward::new(self.client.clone(), name);
        let connector = Connector {
            node: name.to_owned(),
            tunnel,
            identity: self.identity.clone(),
            met: Arc::clone(&self.met),
            routes,
            spool: Arc::clone(&spool),
            state_tx,
        };
        let keeper = SpoolKeeper {
            spool,
            syncthing: Arc::clone(&self.syncthing),
            dir: self.spools.clone(),
            devices: Arc::clone(&self.devices),
            own_device: self.identity.device_id.clone(),
            bep_address: bep.address(),
            state: state.clone(),
        };
        tokio::spawn(keeper.run(end.clone()).instrument(span.clone()));
        tokio::spawn(end.clone().run_until_cancelled_owned(connector.run()).instrument(span.clone()));
        tokio::spawn(end.run_until_cancelled_owned(bep.serve(state)).instrument(span));
        Ok(node)
    }

    fn find(&self, name: &str) -> Option<Arc<Node>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).get(name).and_then(Weak::upgrade)
    }
}
