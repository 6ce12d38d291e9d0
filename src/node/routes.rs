//! Which attachment hears of which of a node's ends, and when radar was last heard of.
//!
//! Invariant: an attachment hears of its end once, and of nobody else's.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::oneshot;

#[derive(Debug, Default)]
struct Table {
    attachments: HashMap<String, oneshot::Sender<String>>,
    last_contact: Option<Timestamp>,
}

/// Where the ends of attachments go. Only ever locked for a look or a change, never across an await.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<Table>);

impl Routes {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why radar ends one attachment, once it does: connector --end--> folder.
    pub(super) fn end_of(&self, attachment_id: &str) -> oneshot::Receiver<String> {
        let (end_tx, end) = oneshot::channel();
        let mut table = self.lock();
        table.attachments.retain(|_, end_tx| !end_tx.is_closed());
        table.attachments.insert(attachment_id.to_owned(), end_tx);
        end
    }

    /// radar was heard of just now.
    pub(super) fn contact(&self) {
        self.lock().last_contact = Some(Timestamp::now());
    }

    pub(super) fn last_contact(&self) -> Option<Timestamp> {
        self.lock().last_contact
    }

    /// radar has ended an attachment.
    pub(super) fn ended(&self, attachment_id: &str, reason: String) {
        if let Some(end_tx) = self.lock().attachments.remove(attachment_id) {
            // Nobody may follow it any more.
            let _ = end_tx.send(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Routes;

    #[tokio::test]
    async fn an_end_is_heard_of_by_its_own_attachment() {
        let routes = Routes::default();
        let (one, mut two) = (routes.end_of("1"), routes.end_of("2"));
        routes.ended("1", "its container exited".to_owned());
        routes.ended("3", "nobody's".to_owned());
        assert_eq!(one.await.unwrap(), "its container exited");
        assert!(two.try_recv().is_err());
        drop(two);
        let _three = routes.end_of("3");
        assert_eq!(routes.lock().attachments.len(), 1, "who does not listen is forgotten");
    }
}
