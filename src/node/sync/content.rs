//! Contents that are too large for the stream, by calls of their own.
//!
//! Invariant: what breaks off here never looks complete there.

use futures::{StreamExt as _, stream};
use ksync_engine::Pieces;
use ksync_proto::radar::{ReadReply, ReadRequest, StageRequest, radar_client::RadarClient};
use ksync_tree::Entry;
use ksync_wire::{Packer, unpack};
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming, transport::Channel};

use crate::node::call_error::CallError;

/// Most that goes in one message, or comes out of one.
pub(super) const PIECE: usize = 256 << 10;
const MOST: usize = 1 << 20;
/// Pieces that may wait for whoever reads them.
pub(super) const AHEAD: usize = 8;

/// A file of an attachment.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) attachment: String,
    pub(super) path: String,
}

impl Place {
    /// What asks for its content.
    pub(super) fn reading(self, expected: &Entry) -> ReadRequest {
        ReadRequest {
            attachment_id: self.attachment,
            path: self.path,
            expected: Some(ksync_wire::entry(expected)),
            spool: false,
        }
    }
}

/// Has `pieces` written beside a file's place, for a job.
pub(super) async fn stage(
    mut radar: RadarClient<Channel>,
    place: Place,
    number: u64,
    pieces: Pieces,
) -> Result<(), String> {
    let Place { attachment, path } = place;
    let head = StageRequest { attachment_id: attachment, number, path, ..StageRequest::default() };
    let (broken_tx, broken_rx) = oneshot::channel();
    let sending = Sending {
        pieces,
        packer: Packer::default(),
        rest: Vec::new(),
        is_over: false,
        broken_tx: Some(broken_tx),
    };
    let requests = stream::iter([head]).chain(stream::unfold(sending, Sending::next));
    tokio::select! {
        biased;
        // The call is dropped with this, before its last message.
        Ok(reason) = broken_rx => Err(reason),
        staged = radar.stage(requests) => staged.map(drop).map_err(sentence),
    }
}

/// The pieces that go out.
struct Sending {
    pieces: Pieces,
    packer: Packer,
    rest: Vec<u8>,
    is_over: bool,
    /// Why they break off. sending --reason--> call
    broken_tx: Option<oneshot::Sender<String>>,
}

impl Sending {
    async fn next(mut self) -> Option<(StageRequest, Self)> {
        if self.is_over {
            return None;
        }
        while self.rest.is_empty() {
            match self.pieces.recv().await {
                Some(Ok(piece)) => self.rest = piece,
                None => {
                    self.is_over = true;
                    return Some((StageRequest { last: true, ..StageRequest::default() }, self));
                }
                Some(Err(reason)) => {
                    if let Some(broken_tx) = self.broken_tx.take() {
                        // Whoever listens drops this.
                        let _ = broken_tx.send(reason);
                    }
                    return futures::future::pending().await;
                }
            }
        }
        let after = self.rest.split_off(self.rest.len().min(PIECE));
        let piece = std::mem::replace(&mut self.rest, after);
        let (data, packed) = match self.packer.pack(&piece) {
            Some(packed) => (packed, true),
            None => (piece, false),
        };
        Some((StageRequest { data: data.into(), packed, ..StageRequest::default() }, self))
    }
}

/// The content of a file while it is the `expected` one.
pub(super) async fn read(
    mut radar: RadarClient<Channel>,
    place: Place,
    expected: Entry,
) -> Result<Pieces, String> {
    let replies = radar.read(place.reading(&expected)).await.map_err(sentence)?.into_inner();
    Ok(pieces_of(None, replies))
}

/// What comes, after the `first` of it where that was taken already.
pub(super) fn pieces_of(first: Option<ReadReply>, replies: Streaming<ReadReply>) -> Pieces {
    let (pieces_tx, pieces_rx) = mpsc::channel(AHEAD);
    tokio::spawn(pass_on(first, replies, pieces_tx));
    pieces_rx
}

async fn pass_on(
    mut first: Option<ReadReply>,
    mut replies: Streaming<ReadReply>,
    pieces_tx: mpsc::Sender<Result<Vec<u8>, String>>,
) {
    loop {
        let next = match first.take() {
            Some(first) => Ok(Some(first)),
            None => replies.message().await,
        };
        let piece = match next {
            Ok(Some(ReadReply { data, packed: true, .. })) => {
                unpack(&data, MOST).map_err(|error| ksync_common::chain(&error))
            }
            Ok(Some(ReadReply { data, .. })) => Ok(data.to_vec()),
            Ok(None) => return,
            Err(status) => Err(sentence(status)),
        };
        let is_last = piece.is_err();
        // Whoever reads may have had enough.
        if pieces_tx.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

pub(super) fn sentence(status: Status) -> String {
    ksync_common::chain(&CallError::from(status))
}
