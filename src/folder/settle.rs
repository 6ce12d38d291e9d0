//! Waiting until a node holds what is here.
//!
//! Invariant: only radar's word counts, and that a call took too long says nothing.

use std::time::Duration;

use ksync_proto::radar::SettleRequest;
use tonic::Code;

use super::{Setback, stages::Stages};
use crate::{local::LocalFolder, node::Link};

/// How long one `Settle` call may wait; then it is asked again.
const LIMIT: Duration = Duration::from_secs(30);

/// What became of waiting for an index to be everywhere.
pub(super) enum Settled {
    /// It is, and got through the node's stages like this.
    Done(Stages),
    /// Not yet: this is what fails now, one sentence each; nothing when what failed before does no more.
    Failing(Vec<String>),
}

/// Waits until the node's folder, and all that follow it, hold everything up to `sequence` of our index, or until
/// something else fails than what is `known` to.
pub(super) async fn settle(
    local: &LocalFolder,
    link: &Link,
    sequence: i64,
    known: &[String],
) -> Result<Settled, Setback> {
    loop {
        let mut request = tonic::Request::new(SettleRequest {
            session_id: link.session_id.clone(),
            folder_id: local.id.clone(),
            sequence,
            known_errors: known.to_owned(),
        });
        request.set_timeout(LIMIT);
        let reply = match link.radar.clone().settle(request).await {
            Ok(reply) => reply.into_inner(),
            // Not in time is not settled, and says nothing of the connection: its keepalive does.
            Err(status) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => continue,
            Err(status) => return Err(status.into()),
        };
        if reply.settled {
            return Ok(Settled::Done(Stages::of(&reply)));
        }
        if reply.errors != known {
            return Ok(Settled::Failing(reply.errors));
        }
    }
}

/// The same where nothing may fail.
pub(super) async fn settle_all(local: &LocalFolder, link: &Link, sequence: i64) -> Result<(), Setback> {
    match settle(local, link, sequence, &[]).await? {
        Settled::Done(_) => Ok(()),
        Settled::Failing(errors) => Err(Setback::Pull(first_of(&errors))),
    }
}

/// The first of several sentences, and how many more there are.
pub(super) fn first_of(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}
