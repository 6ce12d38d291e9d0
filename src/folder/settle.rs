//! Waiting until a node holds what is here.
//!
//! Invariant: only radar's word counts, and that a call took too long says nothing.

use super::{interruption::Interruption, stages::Stages};
use crate::node::{Attachment, SettleReply};

/// Whether an index is everywhere on a node.
pub(super) enum Settled {
    /// It is, and got through the node's stages like this.
    Done(Stages),
    /// Not yet: these changes fail now, one sentence each; none when the failures that were known are over.
    Failing(Vec<String>),
}

/// Waits until the node's folder, and all that follow it, hold everything up to `sequence` of our index, or until
/// something else fails than what is `known` to. Where this container has `settled` before, its question may be that of
/// others, too.
pub(super) async fn settle(
    attachment: Attachment,
    sequence: i64,
    known: Vec<String>,
    settled: bool,
) -> Result<Settled, Interruption> {
    loop {
        let reply = if settled {
            attachment.settle_together(sequence, &known).await?
        } else {
            attachment.settle(sequence, &known).await?
        };
        match reply {
            SettleReply::Settled(ago) => return Ok(Settled::Done(Stages::of(&ago))),
            SettleReply::Failing(errors) if errors != known => return Ok(Settled::Failing(errors)),
            SettleReply::Failing(_) | SettleReply::TimedOut | SettleReply::Cancelled => {}
        }
    }
}

/// The same where nothing may fail.
pub(super) async fn settle_all(attachment: &Attachment, sequence: i64) -> Result<(), Interruption> {
    match settle(attachment.clone(), sequence, Vec::new(), false).await? {
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
