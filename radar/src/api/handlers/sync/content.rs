//! Files that are too large for the stream: written beside their places, and read, by calls of their own.
//!
//! Invariant: the file system is only touched by the attachment's workers. One that waits for the network has a limit, in time
//! and in number.

use std::{ops::ControlFlow, sync::Arc};

use ksync_proto::radar::{Entry, ReadReply, StageRequest};
use ksync_wire::{Packer, entry_from, unpack};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::SendTimeoutError},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::bytes::Bytes;
use tonic::{Status, Streaming};

use crate::{
    api::{
        allowance::{Kind, Share},
        handlers::replies::{self, Replies, STILL, stood_still},
        status,
    },
    container::power::Workers,
    sync::endpoints::{Error, Opened, Upload},
};

/// Most that one message's piece may be.
const PIECE: usize = 256 << 10;
/// Most that one file may be, in bytes.
const LARGEST: u64 = 64 << 30;
/// Messages that may wait for the disk or the network.
const AHEAD: usize = 8;

/// Writes what the stream brings beside the place that its first message names.
///
/// A thread is taken for each piece and not for the call, so that calls that bring nothing hold nobody up.
pub(in crate::api::handlers) async fn stage(
    opened: Arc<Opened>,
    first: StageRequest,
    mut requests: Streaming<StageRequest>,
    share: Share,
) -> Result<(), Status> {
    let (number, path) = (first.number, first.path.clone());
    let begins = Arc::clone(&opened);
    let begun = at_work(opened.workers(), &share, move || Upload::begin(begins, number, path)).await?;
    let mut upload = Uploading { upload: Some(begun), opened, share };
    let (mut next, mut size) = (first, 0);
    loop {
        let StageRequest { data, packed, last, .. } = next;
        let piece = piece_of(data, packed)?;
        size += piece.len() as u64;
        if size > LARGEST {
            return Err(Status::resource_exhausted(format!("a file of more than {} GiB", LARGEST >> 30)));
        }
        if !piece.is_empty() {
            upload.step(move |mut upload| upload.add(&piece).map(|()| Some(upload))).await?;
        }
        if last {
            return upload.step(|upload| upload.finish().map(|()| None)).await;
        }
        // A call that the client gives up ends like this, too.
        next = replies::next(&mut requests)
            .await?
            .ok_or_else(|| Status::aborted("the client's stream was broken off"))?;
    }
}

/// An upload between its steps. One that is given up is removed where that may block.
struct Uploading {
    upload: Option<Upload>,
    opened: Arc<Opened>,
    share: Share,
}

impl Uploading {
    /// Does a step, after which it may be over. After an error it is.
    async fn step(
        &mut self,
        step: impl FnOnce(Upload) -> Result<Option<Upload>, Error> + Send + 'static,
    ) -> Result<(), Status> {
        if let Some(upload) = self.upload.take() {
            self.upload = at_work(self.opened.workers(), &self.share, move || step(upload)).await?;
        }
        Ok(())
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.opened.workers().discard((upload, self.share.clone()));
        }
    }
}

/// Has a worker do something, when it is the caller's turn for one. It counts as long as it takes.
async fn at_work<T: Send + 'static>(
    workers: &Workers,
    share: &Share,
    step: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Status> {
    let held = (share.turn(Kind::Write).await?, share.clone());
    let done = workers.run(move || {
        let _held = held;
        step()
    });
    Ok(done.await.map_err(|error| status::no_worker(&error))??)
}

fn piece_of(data: Bytes, packed: bool) -> Result<Vec<u8>, Status> {
    if packed {
        return unpack(&data, PIECE).map_err(|error| status::from_wire(&error));
    }
    if data.len() > PIECE {
        return Err(Status::resource_exhausted(format!("a piece of more than {} KiB", PIECE >> 10)));
    }
    Ok(data.into())
}

/// The content of a file while it is the expected one; an error is the last of it where it was not to the end.
pub(in crate::api::handlers) fn read(
    opened: Arc<Opened>,
    path: String,
    expected: Option<Entry>,
    turn: Share,
) -> Result<Replies<ReadReply>, Status> {
    let expected = expected.ok_or_else(|| Status::invalid_argument("no entry is expected"))?;
    let expected = entry_from(expected, &path).map_err(|error| status::from_wire(&error))?;
    let (replies_tx, replies_rx) = mpsc::channel(AHEAD + 1);
    // There is room for an error, however much is not read: without one it would look complete.
    let last = replies_tx.clone().try_reserve_owned();
    let last = last.map_err(|error| Status::internal(format!("begin to read: {error}")))?;
    let runtime = Handle::current();
    let reads = Arc::clone(&opened);
    let reading = move || {
        // For as long as the thread is taken.
        let _turn = turn;
        let mut packer = Packer::default();
        let mut still = false;
        let read = reads.read(&path, &expected, |piece| {
            let reply = match packer.pack(piece) {
                Some(packed) => ReadReply { data: packed.into(), packed: true, ..ReadReply::default() },
                None => ReadReply { data: Bytes::copy_from_slice(piece), ..ReadReply::default() },
            };
            match runtime.block_on(replies_tx.send_timeout(Ok(reply), STILL)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    still = matches!(error, SendTimeoutError::Timeout(_));
                    ControlFlow::Break(())
                }
            }
        });
        let failed = if still { Some(stood_still()) } else { read.err().map(Status::from) };
        if let Some(failed) = failed {
            last.send(Err(failed));
        }
    };
    opened.workers().begin(reading).map_err(|error| status::no_worker(&error))?;
    Ok(Box::pin(ReceiverStream::new(replies_rx)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use ksync_keys::Fingerprint;

    use super::*;
    use crate::{
        api::allowance::Allowances,
        container::power::{ContainerPower, Credential, MOST},
    };

    fn workers() -> Workers {
        Workers::new(Arc::new(ContainerPower::new(Credential::own(), false).unwrap()))
    }

    /// The attack: files in a file system that hangs, until there is no thread for anybody.
    #[tokio::test(flavor = "multi_thread")]
    async fn steps_that_hang_leave_threads_to_others() {
        let allowances = Allowances::default();
        let [mine, theirs] = [b"s", b"t"].map(|name| allowances.of(Fingerprint::of(name)));
        let (began_tx, began_rx) = mpsc::channel();
        let (go_on_tx, go_on_rx) = tokio::sync::watch::channel(false);
        let (of_mine, of_theirs) = (workers(), workers());
        let hang = |number| {
            let (of_mine, runtime) = (of_mine.clone(), Handle::current());
            let (share, began_tx) = (mine.take(Kind::Stage).unwrap(), began_tx.clone());
            let mut go_on_rx = go_on_rx.clone();
            tokio::spawn(async move {
                at_work(&of_mine, &share, move || {
                    began_tx.send(number).unwrap();
                    runtime.block_on(go_on_rx.wait_for(|go_on| *go_on)).unwrap();
                    Ok(())
                })
                .await
            })
        };
        let hanging: Vec<_> = (0..Kind::Stage.most()).map(hang).collect();
        for _ in 0..MOST {
            began_rx.recv_timeout(STILL).unwrap();
        }
        let theirs = theirs.take(Kind::Stage).unwrap();
        at_work(&of_theirs, &theirs, || Ok(())).await.unwrap();
        assert!(began_rx.try_recv().is_err(), "the others wait for their turn");
        go_on_tx.send_replace(true);
        for step in hanging {
            step.await.unwrap().unwrap();
        }
    }
}
