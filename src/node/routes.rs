//! Which attachment gets which of a node's events, and when radar was last heard of.
//!
//! Invariant: an attachment's events are gapless until their end. When more of them wait than there is room for, they end
//! there, and the folder attaches anew, which compares both sides.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::warn;

use super::messages::AttachmentEvent;

/// Events of one attachment that may wait: more than a burst of a big directory, some MB at most.
const WAITING: usize = 65_536;

#[derive(Debug, Default)]
struct Table {
    attachments: HashMap<String, mpsc::Sender<AttachmentEvent>>,
    last_contact: Option<Timestamp>,
}

/// Where events go. Only ever locked for a look or a change, never across an await.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<Table>);

impl Routes {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events of one attachment, from now on: connector --events--> folder.
    pub(super) fn events_of(&self, attachment_id: &str) -> mpsc::Receiver<AttachmentEvent> {
        let (events_tx, events_rx) = mpsc::channel(WAITING);
        self.lock().attachments.insert(attachment_id.to_owned(), events_tx);
        events_rx
    }

    /// radar was heard of just now.
    pub(super) fn contact(&self) {
        self.lock().last_contact = Some(Timestamp::now());
    }

    pub(super) fn last_contact(&self) -> Option<Timestamp> {
        self.lock().last_contact
    }

    /// Passes an event on. One for nobody is dropped, its attachment has ended; one that finds no room ends the events of
    /// its attachment.
    pub(super) fn deliver(&self, attachment_id: &str, event: AttachmentEvent) {
        let mut table = self.lock();
        let Some(Err(error)) = table.attachments.get(attachment_id).map(|tx| tx.try_send(event)) else {
            return;
        };
        if let TrySendError::Full(_) = error {
            warn!(attachment = attachment_id, limit = WAITING, "too many events wait");
        }
        table.attachments.remove(attachment_id);
    }
}

#[cfg(test)]
mod tests {
    use super::{AttachmentEvent, Routes, WAITING};

    #[tokio::test]
    async fn events_that_find_no_room_end_without_a_gap() {
        let routes = Routes::default();
        let mut events = routes.events_of("a");
        let event = |n: usize| AttachmentEvent::Deleted { path: n.to_string() };
        for n in 0..WAITING + 2 {
            routes.deliver("a", event(n));
        }
        for n in 0..WAITING {
            assert_eq!(events.recv().await, Some(event(n)));
        }
        routes.deliver("a", event(WAITING + 2));
        assert_eq!(events.recv().await, None);
    }
}
