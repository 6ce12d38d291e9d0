//! Types of the handlers' answers, and the limits of time that any stream has.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _};
use tonic::{Response, Status, Streaming};

use crate::api::allowance::Share;

/// One answer.
pub(super) type Reply<T> = Result<Response<T>, Status>;
/// A stream of answers.
pub(super) type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How long the first message of a stream may take, which says what it is for.
const FIRST: Duration = Duration::from_secs(10);
/// How long a transfer may stand still. All of a slow line's transfers together move in a fraction of that.
pub(super) const STILL: Duration = Duration::from_secs(120);

/// The first message of a stream; one that never sends it has nothing of ours for long. `lack` says what is wrong with a
/// stream that ends without.
pub(super) async fn first<T>(requests: &mut Streaming<T>, lack: &str) -> Result<T, Status> {
    let first = tokio::time::timeout(FIRST, requests.message()).await.map_err(|_| {
        Status::deadline_exceeded(format!("the stream's first message did not come within {FIRST:?}"))
    })?;
    first?.ok_or_else(|| Status::invalid_argument(format!("the stream {lack}")))
}

/// The next message of a transfer, which may not stand still.
pub(super) async fn next<T>(requests: &mut Streaming<T>) -> Result<Option<T>, Status> {
    tokio::time::timeout(STILL, requests.message()).await.unwrap_or_else(|_| Err(stood_still()))
}

/// Of a transfer whose other side does nothing.
pub(super) fn stood_still() -> Status {
    Status::deadline_exceeded(format!("the transfer stood still for {STILL:?}"))
}

/// Does something to its end, whether or not anybody waits for it any more: it counts for that long.
pub(super) async fn counted<T: Send + 'static>(
    share: Share,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::spawn(async move {
        let done = work.await;
        drop(share);
        done
    });
    done.await.map_err(|error| Status::internal(format!("do what was asked for: {error}")))
}

/// The same answers, which hold a share of the caller's allowance to their end.
pub(super) fn holding<T: 'static>(share: Share, replies: Replies<T>) -> Replies<T> {
    Box::pin(replies.map(move |reply| {
        let _held = &share;
        reply
    }))
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use http_body::{Body, Frame};
    use ksync_proto::radar::StageRequest;
    use tokio_util::bytes::Bytes;
    use tonic::{Code, codec::Codec as _};
    use tonic_prost::ProstCodec;

    use super::*;
    use crate::api::allowance::{Allowances, Kind};

    /// The attack: to ask for much that takes its time, and give up on each call at once.
    #[tokio::test]
    async fn what_is_begun_counts_until_it_is_over() {
        let mine = Allowances::default().of(ksync_keys::Fingerprint::of(b"s"));
        let (go_on_tx, go_on_rx) = tokio::sync::oneshot::channel::<()>();
        let mut call = Box::pin(counted(mine.take(Kind::Configuration).unwrap(), go_on_rx));
        assert!(futures::poll!(&mut call).is_pending());
        drop(call);
        assert!(mine.take(Kind::Configuration).is_err(), "it goes on");
        go_on_tx.send(()).unwrap();
        assert!(mine.turn(Kind::Configuration).await.is_ok());
    }

    /// Of a client that is there, and says nothing.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_says_nothing_ends_and_is_told_after_how_long() {
        let mut codec = ProstCodec::<StageRequest, StageRequest>::default();
        let mut stream = Streaming::new_request(codec.decoder(), Silent, None, None);
        let refused = first(&mut stream, "names no file").await.unwrap_err();
        assert_eq!(refused.code(), Code::DeadlineExceeded);
        assert_eq!(refused.message(), "the stream's first message did not come within 10s");
        let refused = next(&mut stream).await.unwrap_err();
        assert_eq!(refused.message(), "the transfer stood still for 120s");
    }
}
