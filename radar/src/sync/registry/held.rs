//! Held attachments, and whether a new claim clashes with one of these.
//!
//! Invariant: a directory that another person holds is refused, or taken over where that was asked for.

use std::{collections::HashMap, sync::Arc};

use jiff::{Timestamp, Unit};
use tokio_util::{sync::DropGuard, task::AbortOnDropHandle};

use super::{command::IfHeld, error::Error};
use crate::container::attachment::{Attachment, Claim, Clash, clash};

/// A held attachment.
pub(super) struct Held {
    pub(super) attachment: Arc<Attachment>,
    /// Epoch of the stream that attached it last.
    pub(super) epoch: u64,
    /// The id that the call which attached it last came with.
    pub(super) call: String,
    /// Waits for the container's end.
    pub(super) _exit: AbortOnDropHandle<()>,
    /// Tells whoever works on it that it is held no more.
    pub(super) _let_go: DropGuard,
}

/// What a claim comes to.
pub(super) enum Claimed {
    /// The person has it already.
    Existing(String),
    /// It can be held once these are let go of.
    Free(Vec<String>),
}

/// Whether `wanted`, which came over the stream of this `epoch`, can be held.
pub(super) fn claim(
    attachments: &HashMap<String, Held>,
    wanted: &Claim,
    epoch: u64,
    if_held: IfHeld,
) -> Result<Claimed, Error> {
    let mut taken = Vec::new();
    for (id, held) in attachments {
        let existing = &held.attachment.claim;
        let Some(clash) = clash(existing, wanted) else { continue };
        // Whose container has ended has no claim; its end is being handled.
        if !held.attachment.life.alive() {
            taken.push(id.clone());
            continue;
        }
        match clash {
            // Over one stream a watcher attaches a directory once, and lets go of it before it does so again.
            Clash::Same if held.epoch == epoch => {
                return Err(Error::AlreadySynced {
                    path: wanted.path.clone(),
                    container: wanted.container.to_string(),
                });
            }
            Clash::Same => return Ok(Claimed::Existing(id.clone())),
            // The path is another directory now, so the claim to the old one is void.
            Clash::Own
                if existing.container == wanted.container
                    && existing.path == wanted.path
                    && existing.folder == wanted.folder =>
            {
                taken.push(id.clone());
            }
            Clash::Own => {
                return Err(Error::Overlaps {
                    path: wanted.path.clone(),
                    container: wanted.container.to_string(),
                    other_path: existing.path.clone(),
                    other_container: existing.container.to_string(),
                });
            }
            Clash::Other if if_held == IfHeld::TakeOver => taken.push(id.clone()),
            Clash::Other => {
                return Err(Error::HeldByOther {
                    path: wanted.path.clone(),
                    holder: existing.holder.clone(),
                    since: seconds(existing.since),
                    at: plain(&existing.path),
                });
            }
        }
    }
    Ok(Claimed::Free(taken))
}

/// A path that another person has chosen, for a terminal.
fn plain(path: &str) -> String {
    path.replace(char::is_control, "\u{fffd}")
}

fn seconds(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn anothers_path_moves_no_cursor() {
        assert_eq!(plain("/code/\u{1b}[2Jä\n"), "/code/\u{fffd}[2Jä\u{fffd}");
    }
}
