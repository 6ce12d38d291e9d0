//! Opening a person's session: its stream is the lease.
//!
//! Invariant: the registry hears of the stream's end exactly when nobody can receive its events any more.

use futures::StreamExt;
use ksync_keys::Fingerprint;
use ksync_proto::radar::{SessionEvent, SessionReady, SessionRequest, session_event::Event};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    replies::{Replies, first},
    validate,
};
use crate::{
    api::status,
    sync::{
        registry::{Command, Registry},
        session::{BACKLOG, Hello},
        spools::Spools,
    },
};

/// Opens the session of `person` as the first message says.
pub(super) async fn open(
    person: Fingerprint,
    registry: &Registry,
    spools: &Spools,
    mut requests: Streaming<SessionRequest>,
) -> Result<Replies<SessionEvent>, Status> {
    let SessionRequest { epoch, machine, user, fresh } = first(&mut requests, "opens no session").await?;
    let holder = format!("{}@{}", validate::name(&user), validate::name(&machine));
    let (events_tx, events_rx) = mpsc::channel(BACKLOG);
    let hello = Hello { person, epoch, holder, fresh };
    // Dropped with this call where it is given up, and with the reply's stream when the client or the connection is gone.
    let telling = registry.clone();
    let mut gone = OnDrop(Some(move || telling.tell(Command::StreamLost(person, epoch))));
    if let Err(error) = registry.ask(move |reply| Command::Open(hello, events_tx, reply)).await {
        gone.0 = None;
        return Err(error.into());
    }
    let device_id = spools.device(person).map_err(|error| status::from_spools(&error))?;
    let ready = Event::Ready(SessionReady { device_id });
    let ready = futures::stream::iter([Ok(SessionEvent { event: Some(ready) })]);
    let events = ready.chain(ReceiverStream::new(events_rx).map(Ok));
    let stream =
        futures::stream::unfold((Box::pin(events), requests, gone), |(mut events, requests, gone)| async {
            events.next().await.map(|event| (event, (events, requests, gone)))
        });
    Ok(Box::pin(stream))
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

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
        time::Duration,
    };

    use http_body::{Body, Frame};
    use tokio_util::bytes::Bytes;
    use tonic::codec::Codec as _;
    use tonic_prost::ProstCodec;

    use super::*;
    use crate::sync::session::GRACE;

    /// A client that says one thing, and stays.
    struct Said(Option<Bytes>);

    impl Body for Said {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
        }
    }

    fn hello() -> Streaming<SessionRequest> {
        // Not compressed, two bytes: field 2, the epoch, is 1.
        let said = Bytes::from_static(&[0, 0, 0, 0, 2, 0x10, 1]);
        let mut codec = ProstCodec::<SessionRequest, SessionRequest>::default();
        Streaming::new_request(codec.decoder(), Said(Some(said)), None, None)
    }

    /// The attack: sessions whose streams nobody ever gets, which would stay for ever.
    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_leaves_no_session_without_a_stream() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Spools::below(dir.path().join("sessions"), dir.path().join("lifeline"));
        let registry = Registry::spawn(spools.clone());
        let person = Fingerprint::of(b"s");
        let mut opening = Box::pin(open(person, &registry, &spools, hello()));
        assert!(futures::poll!(&mut opening).is_pending(), "the registry is asked");
        drop(opening);
        let has = async || registry.ask(|reply| Command::Holder(person, reply)).await.is_ok();
        assert!(has().await);
        tokio::time::sleep(GRACE + Duration::from_secs(1)).await;
        assert!(!has().await);
    }
}
