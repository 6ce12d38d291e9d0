//! Large contents through the node's spool.
//!
//! Invariant: what does not come through it goes by the stream. A content is what its hash says, or it is an error.

use std::{
    fs::File,
    io::{self, Read as _},
    time::Instant,
};

use ksync_engine::Pieces;
use ksync_proto::radar::{ReadReply, ReadRequest, StageReply, StageRequest, radar_client::RadarClient};
use ksync_spool::{Error, Filling, Lease, Leased, Name};
use ksync_tree::Entry;
use tokio::sync::mpsc;
use tonic::{Streaming, transport::Channel};

use super::content::{self, AHEAD, PIECE, Place, sentence};
use crate::node::spool::{Spool, Way};

/// Has `pieces`, the content of `entry`, written beside a file's place, for a job.
pub(super) async fn stage(
    radar: RadarClient<Channel>,
    place: Place,
    number: u64,
    entry: &Entry,
    pieces: Pieces,
    spool: &Spool,
) -> Result<(), String> {
    let Some(way) = spool.way(entry).await else { return content::stage(radar, place, number, pieces).await };
    let begun = Instant::now();
    let lease = match bring(&way, entry.size, pieces).await {
        Brought::Here(lease) => lease,
        Brought::Broken(reason) => return Err(reason),
        Brought::Not(reason, pieces) => {
            spool.failed(way.name, &reason);
            return content::stage(radar, place, number, pieces).await;
        }
    };
    let written = begun.elapsed();
    let reason = match offer(radar.clone(), &place, number, entry.size, &lease, way.name).await? {
        Ok(()) => {
            lease.done();
            tracing::info!(
                path = place.path, bytes = entry.size, name = %way.name, ?written, took = ?begun.elapsed(),
                "a large file went through syncthing"
            );
            return Ok(());
        }
        Err(reason) => reason,
    };
    spool.failed(way.name, &reason);
    let file = lease.open().await.map_err(|error| ksync_common::chain(&error))?;
    let staged = content::stage(radar, place, number, hand_out(file, entry.size, |_| None)).await;
    lease.done();
    staged
}

/// Has radar take a file out of its end of the spool. The outer error is the place's, the inner one the spool's.
async fn offer(
    mut radar: RadarClient<Channel>,
    place: &Place,
    number: u64,
    size: u64,
    lease: &Lease,
    name: Name,
) -> Result<Result<(), String>, String> {
    if let Err(error) = lease.offer().await {
        return Ok(Err(ksync_common::chain(&error)));
    }
    let head = StageRequest {
        attachment_id: place.attachment.clone(),
        number,
        path: place.path.clone(),
        spooled: name.hash().to_vec(),
        size,
        ..StageRequest::default()
    };
    let StageReply { not_spooled } =
        radar.stage(futures::stream::iter([head])).await.map_err(sentence)?.into_inner();
    Ok(if not_spooled.is_empty() { Ok(()) } else { Err(not_spooled) })
}

/// What became of a content that was to be written in the outbox.
enum Brought {
    /// It is there.
    Here(Lease),
    /// It breaks off, whichever way it goes.
    Broken(String),
    /// It is not there, and this is all of it.
    Not(String, Pieces),
}

async fn bring(way: &Way, bytes: u64, pieces: Pieces) -> Brought {
    let filling = match way.pair.outbox.lease(way.name, bytes).await {
        Ok(Leased::Filled(lease)) => return Brought::Here(lease),
        Ok(Leased::Empty(filling)) => filling,
        Err(error) => return Brought::Not(ksync_common::chain(&error), pieces),
    };
    let filled = tokio::task::spawn_blocking(move || fill(filling, pieces)).await;
    filled.unwrap_or_else(|error| Brought::Broken(error.to_string()))
}

fn fill(mut filling: Filling, mut pieces: Pieces) -> Brought {
    while let Some(piece) = pieces.blocking_recv() {
        let piece = match piece {
            Ok(piece) => piece,
            Err(reason) => return Brought::Broken(reason),
        };
        if let Err(error) = filling.add(&piece) {
            let reason = format!("write in the spool: {error}");
            return match filling.take_back() {
                Ok((file, written)) => Brought::Not(reason, joined(file, written, piece, pieces)),
                Err(error) => Brought::Broken(format!("{reason}; read it back: {error}")),
            };
        }
    }
    match filling.finish() {
        Ok(lease) => Brought::Here(lease),
        Err(Error::Content { .. }) => Brought::Broken("it changed while it was read".to_owned()),
        Err(error) => Brought::Broken(ksync_common::chain(&error)),
    }
}

/// What was written, what could not be, and what comes after that.
fn joined(file: File, written: u64, piece: Vec<u8>, mut rest: Pieces) -> Pieces {
    let (pieces_tx, pieces_rx) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let send = |piece| pieces_tx.blocking_send(piece).is_ok();
        match send_file(file, written, |piece| send(Ok(piece.to_vec()))) {
            Ok(true) => {
                let mut next = Some(Ok(piece));
                while let Some(piece) = next.take()
                    && send(piece)
                {
                    next = rest.blocking_recv();
                }
            }
            // Whoever reads has had enough.
            Ok(false) => {}
            Err(error) => {
                send(Err(format!("read the spool: {error}")));
            }
        }
    });
    pieces_rx
}

/// The content of a file while it is the `expected` one.
pub(super) async fn read(
    mut radar: RadarClient<Channel>,
    place: Place,
    expected: Entry,
    spool: std::sync::Arc<Spool>,
) -> Result<Pieces, String> {
    let Some(way) = spool.way(&expected).await else { return content::read(radar, place, expected).await };
    let begun = Instant::now();
    let request = ReadRequest { spool: true, ..place.clone().reading(&expected) };
    let mut replies = radar.read(request).await.map_err(sentence)?.into_inner();
    let first = replies.message().await.map_err(sentence)?;
    if first.as_ref().is_none_or(|reply| !reply.spooled) {
        return Ok(content::pieces_of(first, replies));
    }
    let arrived = tokio::select! {
        arrived = way.pair.inbox.wait(way.name, expected.size) => arrived,
        reason = broken(&mut replies) => return Err(reason),
    };
    let arrived = match arrived {
        Ok(arrived) => arrived,
        Err(error) => {
            spool.failed(way.name, &ksync_common::chain(&error));
            // The spool's file at the other end goes with the call.
            drop(replies);
            return content::read(radar, place, expected).await;
        }
    };
    let file = arrived.file.try_clone().map_err(|error| format!("read the spool: {error}"))?;
    Ok(hand_out(file, expected.size, move |hash| {
        let _until_here = (&arrived, &replies);
        if hash != way.name.hash() {
            let reason = ksync_common::chain(&Error::Content { name: way.name });
            spool.failed(way.name, &reason);
            return Some(reason);
        }
        tracing::info!(
            path = place.path, bytes = expected.size, name = %way.name, took = ?begun.elapsed(),
            "a large file came through syncthing"
        );
        None
    }))
}

/// Why radar offers a file no more.
async fn broken(replies: &mut Streaming<ReadReply>) -> String {
    match replies.message().await {
        Ok(_) => "radar has ended the transfer".to_owned(),
        Err(status) => sentence(status),
    }
}

/// The first `bytes` of a file in pieces. At their end `verdict` is given the hash, and says what is wrong.
fn hand_out(
    file: File,
    bytes: u64,
    verdict: impl FnOnce([u8; 32]) -> Option<String> + Send + 'static,
) -> Pieces {
    let (pieces_tx, pieces_rx) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut hasher = blake3::Hasher::new();
        let sent = send_file(file, bytes, |piece| {
            hasher.update(piece);
            pieces_tx.blocking_send(Ok(piece.to_vec())).is_ok()
        });
        let wrong = match sent {
            Ok(true) => verdict(*hasher.finalize().as_bytes()),
            // Whoever reads has had enough.
            Ok(false) => None,
            Err(error) => Some(format!("read the spool: {error}")),
        };
        if let Some(reason) = wrong {
            drop(pieces_tx.blocking_send(Err(reason)));
        }
    });
    pieces_rx
}

/// Returns whether all of them were taken. Fewer bytes than there should be are an error.
fn send_file(mut file: File, bytes: u64, mut send: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let (mut piece, mut left) = (vec![0; PIECE], bytes);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let count = match file.read(&mut piece[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => count,
        };
        if !send(&piece[..count]) {
            return Ok(false);
        }
        left -= count as u64;
    }
    Ok(true)
}
