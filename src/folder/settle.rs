//! Waiting until a node holds what is here.
//!
//! Invariant: only radar's word counts, and that a call took too long says nothing.

use std::sync::Arc;

use futures::FutureExt;
use tonic::Code;

use super::{Interruption, stages::Stages};
use crate::{local::LocalFolder, node::Link};

/// What became of waiting for an index to be everywhere.
pub(super) enum Settled {
    /// It is, and got through the node's stages like this.
    Done(Stages),
    /// Not yet: this is what fails now, one sentence each; nothing when what failed before does no more.
    Failing(Vec<String>),
}

/// Waits until the node's folder, and all that follow it, hold everything up to `sequence` of our index, or until
/// something else fails than what is `known` to. Where this container was `settled` before, its question may be that of
/// others, too.
pub(super) async fn settle(
    local: Arc<LocalFolder>,
    link: Arc<Link>,
    sequence: i64,
    known: Vec<String>,
    settled: bool,
) -> Result<Settled, Interruption> {
    loop {
        let answer = if settled {
            let question = (local.id.clone(), sequence, known.clone());
            let (asked, (folder, sequence, known)) = (Arc::clone(&link), question.clone());
            let ask = async move { asked.settle(&folder, sequence, &known).await };
            link.settle_dedup.ask(question, || ask.boxed()).await
        } else {
            link.settle(&local.id, sequence, &known).await
        };
        let reply = match answer {
            Ok(reply) => reply,
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
pub(super) async fn settle_all(
    local: &Arc<LocalFolder>,
    link: &Arc<Link>,
    sequence: i64,
) -> Result<(), Interruption> {
    match settle(Arc::clone(local), Arc::clone(link), sequence, Vec::new(), false).await? {
        Settled::Done(_) => Ok(()),
        Settled::Failing(errors) => Err(Interruption::Pull(first_of(&errors))),
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
