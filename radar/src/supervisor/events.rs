//! syncthing's events: its long poll as a stream for all folders of the node.
//!
//! Invariant: every event reaches every folder in order, or the folders hear of the gap. Ids count up by one, so a
//! jump is a gap.

use std::time::Duration;

use syncthing::{Client, Pace, TypedEvent};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use ksync_common::Backoff;

/// The events that radar acts on; the same list always, because ids count within one list.
pub(crate) const KINDS: &[&str] = &[
    "ItemFinished",
    "LocalChangeDetected",
    "StateChanged",
    "RemoteIndexUpdated",
    "FolderErrors",
    "DeviceConnected",
    "DeviceDisconnected",
];

/// How long one poll waits.
const WAIT: Duration = Duration::from_secs(30);
/// How many events a folder may lag behind before it has a gap.
const BACKLOG: usize = 8192;

/// One thing heard.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// An event with its id.
    Event(u64, TypedEvent),
    /// Some were missed.
    Gap,
}

/// Where folders listen.
pub(crate) type HeardTx = broadcast::Sender<Heard>;

/// A channel for [`listen`].
pub(crate) fn channel() -> HeardTx {
    broadcast::channel(BACKLOG).0
}

/// Polls `client` until it is `lost`. syncthing --heard_tx--> folders.
///
/// `ready` is told once the first poll has been answered, so that nothing that is configured afterwards is missed.
pub(crate) async fn listen(
    client: Client,
    lost: CancellationToken,
    heard_tx: HeardTx,
    ready: oneshot::Sender<()>,
) {
    let mut ready = Some(ready);
    let (mut since, mut pace) = (0, Pace::default());
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        // The first poll makes the subscription; only what happens after it is kept.
        let wait = if ready.is_some() { Duration::from_secs(1) } else { WAIT };
        let polled = tokio::select! {
            polled = client.events(KINDS, since, wait) => polled,
            () = lost.cancelled() => return,
        };
        match polled {
            Ok(events) => {
                backoff.reset();
                if let Some(ready) = ready.take() {
                    // Nobody waits for it when that syncthing was given up meanwhile.
                    let _ = ready.send(());
                }
                for event in events {
                    if event.id != since + 1 && since != 0 {
                        tracing::warn!(since, id = event.id, "syncthing's events have a gap");
                        drop(heard_tx.send(Heard::Gap));
                    }
                    since = event.id;
                    // An error means that no folder listens.
                    drop(heard_tx.send(Heard::Event(event.id, event.typed())));
                }
                pace.rest().await;
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "hear syncthing's events");
                tokio::select! {
                    () = tokio::time::sleep(backoff.delay()) => {}
                    () = lost.cancelled() => return,
                }
            }
        }
    }
}
