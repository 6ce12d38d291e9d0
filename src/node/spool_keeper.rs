//! The task that keeps a node's spool: this end of it, radar's, and the connection of the two syncthings.
//!
//! Invariant: files are handed to the spool only while both syncthings say that they share it and are connected. Each side
//! has all of its folders before the local one dials: a folder that is added later would end the connection.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ksync_common::Backoff;
use ksync_proto::radar::SpoolRequest;
use ksync_spool::{End, Pair};
use rand::RngExt as _;
use syncthing::{Client, Device, TypedEvent};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    call_error::{CallError, limited},
    link::Link,
    spool::Spool,
    state::NodeState,
};
use crate::{
    blocking,
    local::{LocalSyncthing, Running, SyncthingState},
};

#[cfg(test)]
mod tests;

/// What radar has to know.
const CAPABILITY: &str = "spool";
/// How long two syncthings may take to come together: they dial every 5 s.
const TOGETHER: Duration = Duration::from_secs(30);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long an event is waited for at a time.
const EVENT: Duration = Duration::from_secs(60);

/// Which node's spool has which device of the local syncthing: a node that is left and used again has two keepers for a
/// moment.
#[derive(Debug, Default)]
pub(super) struct Devices(tokio::sync::Mutex<HashMap<String, String>>);

/// What it takes to keep a node's spool.
pub(super) struct SpoolKeeper {
    pub(super) spool: Arc<Spool>,
    pub(super) syncthing: Arc<LocalSyncthing>,
    /// Directory of all spools.
    pub(super) dir: PathBuf,
    pub(super) devices: Arc<Devices>,
    /// Device id of our key.
    pub(super) own_device: String,
    pub(super) bep_address: watch::Receiver<SocketAddr>,
    pub(super) state: watch::Receiver<NodeState>,
}

/// Why a spool is not there.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("radar makes no spool")]
    Radar(#[from] CallError),
    #[error(transparent)]
    Spool(#[from] ksync_spool::Error),
    #[error(transparent)]
    Syncthing(#[from] syncthing::Error),
    #[error("the two syncthings do not come together within {TOGETHER:?}")]
    Apart,
    #[error("the two syncthings have lost each other")]
    Lost,
    #[error("the connection to radar is another one")]
    Link,
    #[error("the local syncthing has ended: {0}")]
    Running(String),
}

impl SpoolKeeper {
    /// Keeps it until the `end`, and takes it away.
    pub(super) async fn run(self, end: CancellationToken) {
        self.run_as(format!("{:016x}", rand::rng().random::<u64>()), end).await;
    }

    /// The same, under a tag that tells it from other spools of the session on this node.
    async fn run_as(mut self, tag: String, end: CancellationToken) {
        let (dir, own, named) = (self.dir.join(&tag), self.own_device.clone(), tag.clone());
        let opening = move || Pair::open(End::Here, &dir, &own, &named).map(Arc::new);
        let pair = match blocking::run(opening).await {
            Ok(pair) => pair,
            Err(error) => return warn!(error = ksync_common::chain(&error), "no spool for large files"),
        };
        let mut device = None;
        tokio::select! {
            () = end.cancelled() => {}
            () = self.keep(&pair, &tag, &mut device) => {}
        }
        self.spool.end();
        self.remove(pair, &tag, device).await;
    }

    /// Begins again and again. `device` is the node's, once it is known.
    async fn keep(&mut self, pair: &Arc<Pair>, tag: &str, device: &mut Option<String>) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        loop {
            let Some((link, running)) = self.both().await else { return };
            if let Some(before) = device.replace(link.device_id.clone())
                && before != link.device_id
            {
                self.forget(&running.client, &before, tag).await;
            }
            let begun = Instant::now();
            let error = match self.hold(pair, tag, &link, &running).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.spool.set(None);
            debug!(reason = ksync_common::chain(&error), "large files go by the stream for now");
            // With another connection or another syncthing nothing has failed.
            if begun.elapsed() > TOGETHER || matches!(error, Error::Link | Error::Running(_)) {
                backoff.reset();
            }
            backoff.wait().await;
        }
    }

    /// Waits for a radar that makes spools, and for a syncthing. None when there will be no more of either.
    async fn both(&mut self) -> Option<(Arc<Link>, Arc<Running>)> {
        let able = |state: &NodeState| matches!(state, NodeState::Up(link) if link.can(CAPABILITY));
        let link = match &*self.state.wait_for(able).await.ok()? {
            NodeState::Up(link) => Arc::clone(link),
            NodeState::Down { .. } => return None,
        };
        Some((link, self.syncthing.ready().await?))
    }

    /// Has both ends share it, and holds it for as long as they do.
    async fn hold(
        &mut self,
        pair: &Arc<Pair>,
        tag: &str,
        link: &Link,
        running: &Running,
    ) -> Result<std::convert::Infallible, Error> {
        let (mut link_state, mut syncthing) = (self.state.clone(), self.syncthing.state());
        let other_link =
            link_state.wait_for(|s| !matches!(s, NodeState::Up(now) if now.number == link.number));
        let other = |state: &SyncthingState| !matches!(state, SyncthingState::Up(now) if now.number == running.number);
        let other_syncthing = syncthing.wait_for(other);
        tokio::select! {
            _ = other_link => Err(Error::Link),
            ended = other_syncthing => Err(Error::Running(match ended.as_deref() {
                Ok(SyncthingState::Down(Some(reason))) => reason.clone(),
                _ => "it is another one".to_owned(),
            })),
            held = self.share(pair, tag, link, &running.client) => held,
        }
    }

    async fn share(
        &mut self,
        pair: &Arc<Pair>,
        tag: &str,
        link: &Link,
        client: &Client,
    ) -> Result<std::convert::Infallible, Error> {
        let request = SpoolRequest { tag: tag.to_owned() };
        limited("Spool", link.radar.clone().spool(request)).await?;
        let device = &*link.device_id;
        // Only a device that is known can share a folder; it is not dialled before both of them are shared.
        self.devices.0.lock().await.insert(device.to_owned(), tag.to_owned());
        if client.devices().await?.iter().all(|known| known.id != device) {
            client.put_device(&Device { paused: true, ..self.dialled(device) }).await?;
        }
        pair.share(client, device).await?;
        client.put_device(&self.dialled(device)).await?;
        let until = Instant::now() + TOGETHER;
        let mut since = 0;
        loop {
            if !pair.is_shared(client, device).await? {
                if Instant::now() > until {
                    return Err(Error::Apart);
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    moved = self.bep_address.changed() => self.redial(client, device, moved.is_err()).await?,
                }
                continue;
            }
            info!(device, "large files go through syncthing");
            self.spool.set(Some(Arc::clone(pair)));
            while pair.is_shared(client, device).await? {
                tokio::select! {
                    lost = lost(client, device, &mut since) => lost?,
                    moved = self.bep_address.changed() => self.redial(client, device, moved.is_err()).await?,
                }
            }
            return Err(Error::Lost);
        }
    }

    /// The listener is at another port now.
    async fn redial(&mut self, client: &Client, device: &str, is_gone: bool) -> Result<(), Error> {
        if is_gone {
            return Err(Error::Link);
        }
        Ok(client.put_device(&self.dialled(device)).await?)
    }

    fn dialled(&mut self, device: &str) -> Device {
        Device::new(device, "node", Some(format!("tcp://{}", *self.bep_address.borrow_and_update())))
    }

    /// The node has another device now.
    async fn forget(&self, client: &Client, device: &str, tag: &str) {
        let mut devices = self.devices.0.lock().await;
        if devices.get(device).is_some_and(|owner| owner == tag) {
            devices.remove(device);
            if let Err(error) = client.delete_device(device).await {
                debug!(error = ksync_common::chain(&error), "forget a node's syncthing");
            }
        }
    }

    async fn remove(&self, pair: Arc<Pair>, tag: &str, device: Option<String>) {
        let running = match &*self.syncthing.state().borrow() {
            SyncthingState::Up(running) => Some(Arc::clone(running)),
            SyncthingState::Down(_) => None,
        };
        if let Some(running) = running {
            if let Err(error) = pair.unshare(&running.client).await {
                debug!(error = ksync_common::chain(&error), "take a spool from syncthing");
            }
            if let Some(device) = device {
                self.forget(&running.client, &device, tag).await;
            }
        }
        // Its directory goes with the last who has it.
        blocking::run(move || drop(pair)).await;
    }
}

/// Waits until the local syncthing says that it has lost a device, or for a while.
async fn lost(client: &Client, device: &str, since: &mut u64) -> Result<(), Error> {
    let begun = Instant::now();
    while begun.elapsed() < EVENT {
        for event in client.events(&["DeviceDisconnected"], *since, EVENT).await? {
            *since = event.id;
            if matches!(event.typed(), TypedEvent::DeviceDisconnected { id, .. } if id == device) {
                return Ok(());
            }
        }
    }
    Ok(())
}
