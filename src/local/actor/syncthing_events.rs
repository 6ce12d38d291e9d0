//! Events of the local syncthing, as the actor listens to them.
//!
//! Invariant: events come in their order; those that syncthing has forgotten before they were asked for are missing, and their
//! numbers tell.

use std::time::Duration;

use syncthing::{Client, Event, Pace};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Events that wait for the actor, at most; further ones wait in syncthing, which keeps a thousand and forgets the older ones.
/// So there is room for what a scan of a big tree finds while the actor waits for a call.
const WAITING: usize = 1 << 14;
/// How long one question may wait for an answer.
const WAIT: Duration = Duration::from_secs(60);
/// The rest after one that failed.
const RETRY: Duration = Duration::from_millis(500);

pub(super) async fn next(events: &mut Option<mpsc::Receiver<Event>>) -> Option<Event> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// Passes on the events of a kind, until syncthing goes or `end` comes.
pub(super) fn follow(client: Client, kind: &'static str, end: CancellationToken) -> mpsc::Receiver<Event> {
    let (tx, rx) = mpsc::channel(WAITING);
    let poll = async move {
        let (mut since, mut pace) = (0, Pace::default());
        loop {
            let events = match client.events(&[kind], since, WAIT).await {
                Ok(events) => events,
                Err(error) => {
                    debug!(%error, "ask for events");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            for event in events {
                since = event.id;
                if tx.send(event).await.is_err() {
                    return;
                }
            }
            pace.rest().await;
        }
    };
    tokio::spawn(end.run_until_cancelled_owned(poll));
    rx
}
