//! A person's lease, as data: its epoch, and the stream of its events.
//!
//! Invariant: of one session at most one stream is open, that of the highest epoch.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ksync_keys::Fingerprint;
use ksync_proto::radar::{AttachmentEnd, AttachmentEnded, SessionEnded, SessionEvent, session_event::Event};
use tokio::sync::mpsc;

/// Events that may wait for a slow client; one that lags further loses its stream and comes back with a new one.
pub(crate) const BACKLOG: usize = 8192;

/// How long a session outlives its stream.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// Where a session's events go: to the stream of the moment, or nowhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sink {
    events_tx: Arc<Mutex<Option<mpsc::Sender<SessionEvent>>>>,
}

impl Sink {
    /// From now on into this stream; the earlier one ends with `why`.
    pub(crate) fn switch(&self, to: Option<mpsc::Sender<SessionEvent>>, why: &str) {
        let mut slot = self.events_tx.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *slot, to) {
            let ended = Event::SessionEnded(SessionEnded { reason: why.to_owned() });
            if old.try_send(SessionEvent { event: Some(ended) }).is_err() {
                tracing::debug!("the stream that ends is gone or full already");
            }
        }
    }

    /// Sends an event. Without a stream it is dropped: a client that comes back asks how things are.
    pub(crate) fn send(&self, event: Event) {
        let mut slot = self.events_tx.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(events_tx) = slot.as_ref() else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) =
            events_tx.try_send(SessionEvent { event: Some(event) })
        {
            tracing::warn!("a client is too slow for its events: its stream ends");
            *slot = None;
        }
    }

    /// Tells that an attachment is over.
    pub(crate) fn ended(&self, attachment: &str, why: AttachmentEnd, reason: impl Into<String>) {
        self.send(Event::AttachmentEnded(AttachmentEnded {
            attachment_id: attachment.to_owned(),
            why: why.into(),
            reason: reason.into(),
        }));
    }
}

/// Who opens a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Whose session it is: who has proved the key of this connection.
    pub(crate) person: Fingerprint,
    /// Rises with every stream.
    pub(crate) epoch: u64,
    /// `user@machine`, as the client says: for persons to read.
    pub(crate) holder: String,
    /// Whether it is the first stream of a new run of the client, which knows nothing of what it held.
    pub(crate) fresh: bool,
}

/// A lease.
#[derive(Debug)]
pub(crate) struct Session {
    /// Who, with the epoch of the newest stream.
    pub(crate) hello: Hello,
    /// Rises with every session of the node.
    pub(crate) number: u64,
    /// Where its events go.
    pub(crate) sink: Sink,
    /// Whether a stream is open.
    pub(crate) open: bool,
}

/// What becomes of a stream that wants to open a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A session that was not there.
    New,
    /// It goes on, with a newer stream.
    Supersedes,
    /// It starts over: what it held is let go first.
    Renewed,
    /// Not newer than the one that is there.
    Stale,
}

/// Decides about a new stream, given what the newest one of its session said.
pub(crate) fn opening(existing: Option<&Hello>, hello: &Hello) -> Opening {
    match existing {
        None => Opening::New,
        Some(old) if hello.epoch <= old.epoch => Opening::Stale,
        Some(_) if hello.fresh => Opening::Renewed,
        Some(_) => Opening::Supersedes,
    }
}

#[cfg(test)]
mod tests {
    use ksync_keys::Fingerprint;
    use ksync_proto::radar::{AttachmentEnd, session_event::Event};
    use tokio::sync::mpsc;

    use super::{Hello, Opening, Sink, opening};

    fn hello(epoch: u64) -> Hello {
        Hello { person: Fingerprint::of(b"s"), epoch, holder: "u@m".into(), fresh: false }
    }

    #[test]
    fn only_a_higher_epoch_takes_over() {
        let old = hello(5);
        assert_eq!(opening(None, &old), Opening::New);
        assert_eq!(opening(Some(&old), &hello(6)), Opening::Supersedes);
        assert_eq!(opening(Some(&old), &Hello { fresh: true, ..hello(6) }), Opening::Renewed);
        assert_eq!(opening(Some(&old), &Hello { fresh: true, ..hello(5) }), Opening::Stale);
        assert_eq!(opening(Some(&old), &hello(5)), Opening::Stale);
        assert_eq!(opening(Some(&old), &hello(4)), Opening::Stale);
    }

    #[tokio::test]
    async fn the_old_stream_is_told_why_it_ends() {
        let sink = Sink::default();
        let (first_tx, mut first) = mpsc::channel(4);
        sink.switch(Some(first_tx), "");
        sink.ended("a", AttachmentEnd::ContainerExited, "x");
        let (second_tx, mut second) = mpsc::channel(1);
        sink.switch(Some(second_tx), "superseded");
        assert!(matches!(first.recv().await.unwrap().event, Some(Event::AttachmentEnded(_))));
        assert!(
            matches!(first.recv().await.unwrap().event, Some(Event::SessionEnded(e)) if e.reason == "superseded")
        );
        assert!(first.recv().await.is_none());
        sink.ended("a", AttachmentEnd::ContainerExited, "x");
        sink.ended("b", AttachmentEnd::ContainerExited, "too many");
        assert!(second.recv().await.is_some());
        assert!(second.recv().await.is_none());
    }
}
