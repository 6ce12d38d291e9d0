//! Files that are too large for the stream: written beside their places, and read, by calls of their own.
//!
//! Invariant: the file system is only touched on blocking threads, which wait for the network and end with it.

use std::{ops::ControlFlow, sync::Arc};

use ksync_proto::radar::{Entry, ReadReply, StageRequest};
use ksync_wire::{Packer, entry_from, unpack};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::bytes::Bytes;
use tonic::{Status, Streaming};

use crate::{
    api::{handlers::replies::Replies, status},
    sync::endpoints::{Error, Opened, Upload},
};

/// Most that one message's piece may be.
const PIECE: usize = 1 << 20;
/// Messages that may wait for the disk or the network.
const AHEAD: usize = 8;

/// Writes what the stream brings beside the place that its first message names.
pub(in crate::api::handlers) async fn stage(
    opened: Arc<Opened>,
    first: StageRequest,
    mut requests: Streaming<StageRequest>,
) -> Result<(), Status> {
    let (number, path) = (first.number, first.path.clone());
    let (pieces_tx, mut pieces_rx) = mpsc::channel::<Option<Vec<u8>>>(AHEAD);
    let writing = tokio::task::spawn_blocking(move || {
        let mut upload = Upload::begin(opened, number, path)?;
        loop {
            match pieces_rx.blocking_recv() {
                Some(Some(piece)) => upload.add(&piece)?,
                Some(None) => return upload.finish().map(|()| true),
                // What breaks off is gone with the upload.
                None => return Ok(false),
            }
        }
    });
    let mut next = first;
    let broken = loop {
        let StageRequest { data, packed, last, .. } = next;
        let piece = match piece_of(data, packed) {
            Ok(piece) => piece,
            Err(status) => break Some(status),
        };
        // Where the writing has ended, its result says why.
        if !piece.is_empty() && pieces_tx.send(Some(piece)).await.is_err() {
            break None;
        }
        if last {
            drop(pieces_tx.send(None).await);
            break None;
        }
        next = match requests.message().await {
            Ok(Some(request)) => request,
            // A call that the client gives up ends like this, too.
            Ok(None) => break None,
            Err(status) => break Some(status),
        };
    };
    drop(pieces_tx);
    let written: Result<bool, Error> =
        writing.await.map_err(|error| Status::internal(format!("stage: {error}")))?;
    match broken {
        Some(status) => Err(status),
        None if written? => Ok(()),
        None => Err(Status::aborted("the client's stream was broken off")),
    }
}

fn piece_of(data: Bytes, packed: bool) -> Result<Vec<u8>, Status> {
    if packed { unpack(&data, PIECE).map_err(|error| status::from_wire(&error)) } else { Ok(data.into()) }
}

/// The content of a file while it is the expected one; an error is the last of it where it was not to the end.
pub(in crate::api::handlers) fn read(
    opened: Arc<Opened>,
    path: String,
    expected: Option<Entry>,
) -> Result<Replies<ReadReply>, Status> {
    let expected = expected.ok_or_else(|| Status::invalid_argument("no entry is expected"))?;
    let expected = entry_from(expected, &path).map_err(|error| status::from_wire(&error))?;
    let (replies_tx, replies_rx) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut packer = Packer::default();
        let read = opened.read(&path, &expected, |piece| {
            let reply = match packer.pack(piece) {
                Some(packed) => ReadReply { data: packed.into(), packed: true, ..ReadReply::default() },
                None => ReadReply { data: Bytes::copy_from_slice(piece), ..ReadReply::default() },
            };
            match replies_tx.blocking_send(Ok(reply)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        if let Err(error) = read {
            // The client may have hung up.
            drop(replies_tx.blocking_send(Err(error.into())));
        }
    });
    Ok(Box::pin(ReceiverStream::new(replies_rx)))
}
