//! Listing, filling and reading an attached directory, as streams of bounded size.
//!
//! Invariant: the file system is only touched on blocking threads, which wait for the network and are ended with
//! it; mounts that are not synced are neither listed, nor read, nor written.

use std::{
    io::{self, Read, Write},
    ops::ControlFlow,
    sync::Arc,
};

use futures::StreamExt;
use ksync_proto::radar::{Entry, EntryKind, FetchReply, ListReply, RemoveReply, SeedReply, SeedRequest};
use ksync_tree::{Ignore, Kind, ListOptions, Owner, UnpackOptions, give_back, list_chunks, pack, unpack};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::bytes::{Buf, Bytes};
use tonic::{Status, Streaming};

use super::replies::Replies;
use crate::{api::status, container::attachment::Attachment};

/// Entries in one message.
const ENTRIES: usize = 512;
/// Bytes in one message.
const CHUNK: usize = 64 * 1024;
/// Messages that may wait for the network.
const AHEAD: usize = 8;

pub(super) fn list(
    attachment: Arc<Attachment>,
    hash: bool,
    patterns: Vec<String>,
    once: bool,
) -> Result<Replies<ListReply>, Status> {
    let ignore = Arc::new(Ignore::new(&patterns).map_err(|error| status::from_tree(&error))?);
    if !once {
        attachment.set_ignore(Arc::clone(&ignore));
    }
    let (replies_tx, replies_rx) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let exclude = attachment.about.excluded();
        let options = ListOptions { hash, ignore: &ignore, exclude: &exclude };
        let listed = list_chunks(&attachment.root, &options, ENTRIES, |entries| {
            let entries = entries.into_iter().map(entry).collect();
            match replies_tx.blocking_send(Ok(ListReply { entries })) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        let last = match listed {
            Ok(skipped) => {
                for skipped in skipped {
                    tracing::debug!(path = skipped.path, reason = skipped.reason, "left out of a listing");
                }
                // A directory whose files have gone with their container would be listed as empty.
                if attachment.life.alive() { None } else { Some(ended()) }
            }
            Err(error) => Some(status::from_tree(&error)),
        };
        if let Some(status) = last {
            // The client may have hung up.
            drop(replies_tx.blocking_send(Err(status)));
        }
        give_back();
    });
    Ok(Box::pin(ReceiverStream::new(replies_rx)))
}

fn ended() -> Status {
    Status::aborted("the container ended while its directory was read")
}

fn entry(entry: ksync_tree::Entry) -> Entry {
    let kind = match entry.kind {
        Kind::File => EntryKind::File,
        Kind::Dir => EntryKind::Dir,
        Kind::Symlink => EntryKind::Symlink,
    };
    Entry {
        path: entry.path,
        kind: kind.into(),
        size: entry.size,
        mtime_ns: entry.mtime_ns,
        mode: entry.mode,
        hash: entry.hash.map(Vec::from).unwrap_or_default(),
        target: entry.target.unwrap_or_default(),
    }
}

/// Fills the directory from the client's stream; on the wire the call is `Seed`.
pub(super) async fn send(
    attachment: Arc<Attachment>,
    first: Bytes,
    mut requests: Streaming<SeedRequest>,
) -> Result<SeedReply, Status> {
    let (data_tx, data_rx) = mpsc::channel(AHEAD);
    let unpacking = tokio::task::spawn_blocking(move || {
        let exclude = attachment.about.excluded();
        let options = UnpackOptions {
            owner: Owner::FromParent,
            exclude: &exclude,
            pass_over_no_room: true,
            ..UnpackOptions::default()
        };
        let input = Incoming { data_rx, now: first, broken: false };
        let unpacked = unpack(&attachment.root, input, &options, |_| {});
        give_back();
        unpacked
    });
    loop {
        let message = match requests.message().await {
            Ok(Some(message)) => message,
            Ok(None) => {
                drop(data_tx.send(Piece::End).await);
                break;
            }
            Err(status) => {
                drop(data_tx.send(Piece::BrokenOff).await);
                tracing::debug!(%status, "a sending was broken off");
                break;
            }
        };
        if !message.data.is_empty() && data_tx.send(Piece::Data(message.data)).await.is_err() {
            // Unpacking has ended early: its result says why.
            break;
        }
    }
    let unpacked = unpacking.await.map_err(|error| Status::internal(format!("unpack: {error}")))?;
    let counts = unpacked.map_err(|error| status::from_tree(&error))?;
    let no_room = counts.skipped.into_iter().map(|skipped| skipped.path).collect();
    Ok(SeedReply { no_room })
}

/// A piece of the client's stream.
enum Piece {
    Data(Bytes),
    /// The client ended it.
    End,
    /// It broke off before its end.
    BrokenOff,
}

/// The client's stream as something to read from. Ends well only after the client ended well.
struct Incoming {
    data_rx: mpsc::Receiver<Piece>,
    now: Bytes,
    broken: bool,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.now.is_empty() && !self.broken {
            match self.data_rx.blocking_recv() {
                Some(Piece::Data(data)) => self.now = data,
                Some(Piece::BrokenOff) => self.broken = true,
                // The end may have been read before.
                Some(Piece::End) | None => {}
            }
        }
        if self.broken {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client's stream was broken off"));
        }
        let count = self.now.len().min(buffer.len());
        self.now.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

pub(super) fn fetch(attachment: Arc<Attachment>, paths: Vec<String>) -> Replies<FetchReply> {
    let (data_tx, data_rx) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let wanted = paths.iter().map(String::as_str).filter(|path| !attachment.about.excludes(path));
        let mut out = Outgoing { data_tx: data_tx.clone(), buffer: Vec::with_capacity(CHUNK) };
        let packed = pack(&attachment.root, wanted, &mut out).and_then(|counts| {
            for skipped in &counts.skipped {
                tracing::debug!(path = skipped.path, reason = skipped.reason, "left out of a stream");
            }
            out.flush().map_err(|source| ksync_tree::Error::Stream { operation: "write", source })
        });
        let failed = match packed {
            Ok(()) if attachment.life.alive() => None,
            Ok(()) => Some(ended()),
            Err(error) => Some(status::from_tree(&error)),
        };
        if let Some(status) = failed {
            // The client may have hung up.
            drop(data_tx.blocking_send(Err(status)));
        }
    });
    Box::pin(
        ReceiverStream::new(data_rx).map(|data: Result<Bytes, Status>| data.map(|data| FetchReply { data })),
    )
}

/// Removes entries, what is below a directory before the directory. One that is gone already is no error.
pub(super) async fn remove(
    attachment: Arc<Attachment>,
    mut paths: Vec<String>,
    mut unchanged: Vec<Entry>,
) -> Result<RemoveReply, Status> {
    let removing = tokio::task::spawn_blocking(move || {
        paths.retain(|path| !attachment.about.excludes(path));
        paths.sort_unstable_by(|a, b| ksync_tree::compare(b, a));
        let mut left = Vec::new();
        for path in paths {
            if attachment.remove(&path)? == ksync_tree::Removed::NotEmpty {
                left.push(path);
            }
        }
        unchanged.retain(|file| !attachment.about.excludes(&file.path));
        for file in unchanged {
            if !ksync_tree::remove_same(&attachment.root, &file.path, file.size, file.mtime_ns)? {
                left.push(file.path);
            }
        }
        Ok(RemoveReply { left })
    });
    let removed = removing.await.map_err(|error| Status::internal(format!("remove: {error}")))?;
    removed.map_err(|error: ksync_tree::Error| status::from_tree(&error))
}

/// The client's stream as something to write to.
struct Outgoing {
    data_tx: mpsc::Sender<Result<Bytes, Status>>,
    buffer: Vec<u8>,
}

impl Write for Outgoing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK)));
        self.data_tx.blocking_send(Ok(data)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use tokio::sync::mpsc;
    use tokio_util::bytes::Bytes;

    use super::{Incoming, Piece};

    #[test]
    fn a_stream_that_breaks_off_is_not_a_stream_that_ends() {
        for (end, well) in [(Piece::End, true), (Piece::BrokenOff, false)] {
            let (tx, data_rx) = mpsc::channel(4);
            tx.try_send(Piece::Data(Bytes::from_static(b"cd"))).unwrap();
            tx.try_send(end).unwrap();
            drop(tx);
            let mut incoming = Incoming { data_rx, now: Bytes::from_static(b"ab"), broken: false };
            let mut text = String::new();
            assert_eq!(incoming.read_to_string(&mut text).is_ok(), well);
            if well {
                assert_eq!(text, "abcd");
            }
        }
    }
}
