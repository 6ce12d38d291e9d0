//! Opening a person's session: its stream is the lease.
//!
//! Invariant: the registry hears of the stream's end exactly when nobody can receive its events any more.

use futures::StreamExt;
use ksync_keys::Fingerprint;
use ksync_proto::radar::{SessionEvent, SessionReady, SessionRequest, session_event::Event};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Streaming};

use super::{
    replies::{Replies, Reply, first},
    spool, validate,
};
use crate::{
    supervisor::node_syncthing::NodeSyncthingRx,
    sync::{
        registry::{Command, Registry},
        session::{BACKLOG, Hello},
    },
};

/// Opens the session of `person` as the first message says, and waits for the node's syncthing first.
pub(super) async fn open(
    person: Fingerprint,
    registry: &Registry,
    mut syncthing_rx: NodeSyncthingRx,
    mut requests: Streaming<SessionRequest>,
) -> Reply<Replies<SessionEvent>> {
    let SessionRequest { epoch, machine, user, fresh } = first(&mut requests, "opens no session").await?;
    let syncthing = spool::syncthing(&mut syncthing_rx).await?;
    let holder = format!("{}@{}", validate::name(&user), validate::name(&machine));
    let (events_tx, events_rx) = mpsc::channel(BACKLOG);
    let hello = Hello { person, epoch, holder, fresh };
    registry.ask(move |reply| Command::Open(hello, events_tx, reply)).await?;
    let registry = registry.clone();
    // Dropped with the reply's stream, when the client or the connection is gone.
    let gone = OnDrop(Some(move || registry.tell(Command::StreamLost(person, epoch))));
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
