//! Opening a session: its stream is the lease.
//!
//! Invariant: the registry hears of the stream's end exactly when nobody can receive its events any more.

use futures::StreamExt;
use ksync_proto::radar::{SessionEvent, SessionReady, SessionRequest, session_event::Event};
use syncthing::Device;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::{
    replies::{Replies, Reply},
    spool, validate,
};
use crate::{
    api::status,
    supervisor::node_syncthing::NodeSyncthingRx,
    sync::{
        registry::{Command, Registry},
        session::{BACKLOG, Hello},
    },
};

/// Opens the session that the first message names, and waits for the node's syncthing first.
pub(super) async fn open(
    registry: &Registry,
    mut syncthing_rx: NodeSyncthingRx,
    mut requests: Streaming<SessionRequest>,
) -> Reply<Replies<SessionEvent>> {
    let first = requests.message().await?;
    let first = first.ok_or_else(|| Status::invalid_argument("the stream opens no session"))?;
    let SessionRequest { session_id, epoch, machine, user, device_id, fresh } = first;
    validate::session_id(&session_id)?;
    validate::device_id(&device_id)?;
    let syncthing = spool::syncthing(&mut syncthing_rx).await?;
    let holder = format!("{}@{}", validate::name(&user), validate::name(&machine));
    let (events_tx, events_rx) = mpsc::channel(BACKLOG);
    let device = Device::new(&device_id, &holder, None);
    let hello = Hello { session: session_id.clone(), epoch, holder, device: device_id, fresh };
    registry.ask(move |reply| Command::Open(hello, events_tx, reply)).await?;
    let registry = registry.clone();
    // Dropped with the reply's stream, when the client or the connection is gone.
    let gone = OnDrop(Some(move || registry.tell(Command::StreamLost(session_id, epoch))));
    let turn = syncthing.devices.lock().await;
    // Before the client dials: an unknown device would be refused, and dial again only after a while.
    syncthing.client.put_device(&device).await.map_err(|error| status::from_syncthing(&error))?;
    drop(turn);
    let ready = Event::Ready(SessionReady { device_id: syncthing.device_id.clone() });
    let ready = futures::stream::iter([Ok(SessionEvent { event: Some(ready) })]);
    let events = ready.chain(ReceiverStream::new(events_rx).map(Ok));
    let stream =
        futures::stream::unfold((Box::pin(events), requests, gone), |(mut events, requests, gone)| async {
            events.next().await.map(|event| (event, (events, requests, gone)))
        });
    Ok(Response::new(Box::pin(stream)))
}

/// Does something when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell();
        }
    }
}
