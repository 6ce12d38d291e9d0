//! A BEP connection as a byte stream: from the client's call to the session's own syncthing and back.
//!
//! Invariant: bytes keep their order, each direction ends by itself, and nothing is buffered beyond what the two
//! sides' windows hold.

use std::io;

use futures::{StreamExt, stream};
use ksync_proto::radar::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};
use tokio_util::{bytes::BytesMut, sync::CancellationToken};
use tonic::{Status, Streaming};

use super::replies::Replies;
use crate::supervisor::session_syncthing::SessionSyncthing;

/// Largest message, so that other streams get their turn.
const CHUNK: usize = 32 * 1024;

pub(super) async fn connect(
    syncthing: &SessionSyncthing,
    requests: Streaming<Bytes>,
    stop: CancellationToken,
) -> Result<Replies<Bytes>, Status> {
    let failed = |error: io::Error| Status::failed_precondition(format!("connect to syncthing: {error}"));
    let connection = syncthing.network.dial().await.map_err(failed)?;
    connection.set_nodelay(true).map_err(failed)?;
    let (read, write) = connection.into_split();
    // Ends with the reply's stream, so with the call.
    let up = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(up(requests, write, stop.clone())));
    let down = stream::unfold((read, BytesMut::new(), up, stop), |(mut read, mut buffer, up, stop)| async {
        let item = tokio::select! {
            item = down(&mut read, &mut buffer) => item?,
            () = stop.cancelled() => Err(Status::unavailable("radar stops")),
        };
        Some((item, (read, buffer, up, stop)))
    });
    // After an error there is nothing more.
    let down = down.scan(false, |failed, item| {
        let ended = std::mem::replace(failed, item.is_err());
        futures::future::ready((!ended).then_some(item))
    });
    Ok(Box::pin(down))
}

async fn up(mut requests: Streaming<Bytes>, mut write: OwnedWriteHalf, stop: CancellationToken) {
    loop {
        let message = tokio::select! {
            message = requests.message() => message,
            () = stop.cancelled() => return,
        };
        match message {
            Ok(Some(bytes)) => {
                if let Err(error) = write.write_all(&bytes.data).await {
                    tracing::debug!(%error, "write to syncthing");
                    return;
                }
            }
            // The client is done with sending; what syncthing still says goes on.
            Ok(None) => {
                if let Err(error) = write.shutdown().await {
                    tracing::debug!(%error, "end the sending to syncthing");
                }
                return;
            }
            Err(status) => {
                tracing::debug!(%status, "read from the client");
                return;
            }
        }
    }
}

async fn down(read: &mut OwnedReadHalf, buffer: &mut BytesMut) -> Option<Result<Bytes, Status>> {
    buffer.reserve(CHUNK);
    match read.read_buf(buffer).await {
        Ok(0) => None,
        Ok(_) => {
            let count = buffer.len().min(CHUNK);
            Some(Ok(Bytes { data: buffer.split_to(count).freeze() }))
        }
        Err(error) => Some(Err(Status::unavailable(format!("read from syncthing: {error}")))),
    }
}
