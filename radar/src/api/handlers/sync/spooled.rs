//! Large files that come and go through the person's spool.
//!
//! Invariant: what can't go this way is said so, and goes by messages. What comes is hashed before it is anybody's; the other
//! end of the spool may have written anything there.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::ControlFlow,
    sync::Arc,
    time::Instant,
};

use futures::StreamExt as _;
use ksync_proto::radar::{Entry as WireEntry, ReadReply, StageReply, StageRequest};
use ksync_spool::{Error as SpoolError, Filling, Lease, Leased, Name, Pair};
use ksync_tree::Entry;
use ksync_wire::entry_from;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    api::{
        allowance::{Kind, Share},
        handlers::replies::Replies,
        status,
    },
    sync::endpoints::{Error, Opened, Upload},
};

/// Bytes that are copied at a time.
const PIECE: usize = 256 << 10;

/// Writes what comes through the spool beside the place that `first` names.
pub(in crate::api::handlers) async fn stage(
    opened: Arc<Opened>,
    pair: Option<Arc<Pair>>,
    first: StageRequest,
    share: Share,
) -> Result<StageReply, Status> {
    let StageRequest { number, path, spooled, size, .. } = first;
    let name = Name::from_wire(&spooled).ok_or_else(|| Status::invalid_argument("no BLAKE3 is spooled"))?;
    let not_spooled = |reason: String| {
        tracing::info!(%name, size, reason, "not through the spool");
        Ok(StageReply { not_spooled: reason })
    };
    let Some(pair) = pair else { return not_spooled("there is no spool for this key".to_owned()) };
    let begun = Instant::now();
    let arrived = tokio::select! {
        arrived = pair.inbox.wait(name, size) => arrived,
        () = opened.stopped() => return Err(opened.not_open().into()),
    };
    let mut arrived = match arrived {
        Ok(arrived) => arrived,
        Err(error) => return not_spooled(ksync_common::chain(&error)),
    };
    let (came, copying_since) = (begun.elapsed(), Instant::now());
    let given_up = CancellationToken::new();
    let _given_up = given_up.clone().drop_guard();
    let held = (share.turn(Kind::Write).await?, share);
    let begins = Arc::clone(&opened);
    let copying = opened.workers().run(move || {
        let _held = held;
        let upload = Upload::begin(begins, number, path)?;
        copy(&mut arrived.file, upload, name, &given_up)
    });
    let copied = copying.await.map_err(|error| status::no_worker(&error))??;
    if let Err(reason) = copied {
        return not_spooled(reason);
    }
    tracing::info!(%name, size, ?came, copied = ?copying_since.elapsed(), "came through the spool");
    Ok(StageReply::default())
}

/// An error of the place is one whichever way the content comes; a reason is the spool's.
fn copy(
    file: &mut File,
    mut upload: Upload,
    name: Name,
    given_up: &CancellationToken,
) -> Result<Result<(), String>, Error> {
    let mut piece = vec![0; PIECE];
    loop {
        if given_up.is_cancelled() {
            return Ok(Err("the call was given up".to_owned()));
        }
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => upload.add(&piece[..count])?,
            Err(error) => return Ok(Err(format!("read `{name}`: {error}"))),
        }
    }
    let is_whole = upload.finish_as(name.hash())?;
    Ok(if is_whole { Ok(()) } else { Err(SpoolError::Content { name }.to_string()) })
}

/// Offers the content of a file, while it is the expected one, through the spool, until the call or radar ends. None where it
/// can't go that way.
pub(in crate::api::handlers) async fn read(
    opened: &Arc<Opened>,
    pair: &Pair,
    path: &str,
    expected: Option<&WireEntry>,
    share: &Share,
    stop: CancellationToken,
) -> Result<Option<Replies<ReadReply>>, Status> {
    let Some(expected) = expected.cloned() else { return Ok(None) };
    let expected = entry_from(expected, path).map_err(|error| status::from_wire(&error))?;
    let Some(name) = expected.hash.map(Name::new) else { return Ok(None) };
    let lease = match offer(opened, pair, path, expected, name, share).await {
        Ok(lease) => lease,
        Err(Unoffered::File(error)) => return Err(error.into()),
        Err(Unoffered::Spool(reason)) => {
            tracing::info!(%name, reason, "not through the spool");
            return Ok(None);
        }
    };
    let ended = Arc::clone(opened);
    let over = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = ended.stopped() => {}
        }
        drop(lease);
    };
    let spooled = ReadReply { spooled: true, ..ReadReply::default() };
    let over = futures::stream::once(over).filter_map(|()| async { None });
    Ok(Some(Box::pin(futures::stream::iter([Ok(spooled)]).chain(over))))
}

/// Why a content is not offered.
enum Unoffered {
    /// It can't be had, whichever way it is to go.
    File(Error),
    /// It goes by messages.
    Spool(String),
}

impl From<SpoolError> for Unoffered {
    fn from(error: SpoolError) -> Self {
        Self::Spool(ksync_common::chain(&error))
    }
}

async fn offer(
    opened: &Arc<Opened>,
    pair: &Pair,
    path: &str,
    expected: Entry,
    name: Name,
    share: &Share,
) -> Result<Lease, Unoffered> {
    let lease = match pair.outbox.lease(name, expected.size).await? {
        Leased::Filled(lease) => lease,
        Leased::Empty(filling) => {
            let (reads, path, share) = (Arc::clone(opened), path.to_owned(), share.clone());
            // To its end, even if the call is given up: the spool is radar's own, and no worker can remove what is in it.
            let filled = tokio::spawn(async move {
                let workers = reads.workers().clone();
                let filled = workers.run(move || {
                    let _share = share;
                    fill(&reads, &path, &expected, filling)
                });
                let (filling, filled) = filled.await?;
                tokio::task::spawn_blocking(move || filled.and_then(|()| Ok(filling.finish()?)))
                    .await
                    .map_err(io::Error::other)
            });
            let filled = filled.await.map_err(io::Error::other).flatten();
            filled.map_err(|error| Unoffered::Spool(error.to_string()))??
        }
    };
    lease.offer().await?;
    Ok(lease)
}

fn fill(
    opened: &Opened,
    path: &str,
    expected: &Entry,
    mut filling: Filling,
) -> (Filling, Result<(), Unoffered>) {
    let mut failed = None;
    let read = opened.read(path, expected, |piece| match filling.add(piece) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    let filled = match failed {
        Some(error) => Err(Unoffered::Spool(format!("write in the spool: {error}"))),
        None => read.map_err(Unoffered::File),
    };
    (filling, filled)
}
