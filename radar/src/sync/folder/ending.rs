//! The end of a folder, and its reason as attachments and late callers hear it.

use std::sync::Arc;

use ksync_proto::radar::AttachmentEnd;

use super::{command::Command, error::Error, report::Over};
use crate::{container::attachment::Attachment, sync::root_check::RootLost};

/// Why the task ends.
pub(super) struct Ending {
    pub(super) why: AttachmentEnd,
    pub(super) reason: String,
    pub(super) lost: Lost,
}

/// What was lost, by which the followers are told one thing or another.
pub(super) enum Lost {
    /// Only the lead: the others' end has its own name.
    Lead,
    /// Everything of the folder, for the same reason.
    Folder,
}

impl From<RootLost> for Ending {
    fn from(lost: RootLost) -> Self {
        let why = match lost {
            RootLost::Exited => AttachmentEnd::ContainerExited,
            RootLost::Changed(_) => AttachmentEnd::RootChanged,
        };
        Self { why, reason: lost.to_string(), lost: Lost::Lead }
    }
}

impl Ending {
    /// Which attachments are over, the lead's first, and what their owner is told.
    pub(super) fn farewell<'a>(
        &self,
        lead: &Attachment,
        others: impl Iterator<Item = &'a Arc<Attachment>>,
    ) -> Vec<Over> {
        let over = |attachment: &Attachment, why, reason: &str| Over {
            attachment: attachment.id.clone(),
            why,
            reason: reason.to_owned(),
        };
        let mut all = vec![over(lead, self.why, &self.reason)];
        for other in others {
            all.push(match self.lost {
                Lost::Lead => {
                    let reason =
                        format!("the node's first container of this folder was lost: {}", self.reason);
                    over(other, AttachmentEnd::LeadLost, &reason)
                }
                Lost::Folder => over(other, self.why, &self.reason),
            });
        }
        all
    }

    /// Answers a command that came after the end.
    pub(super) fn answer(&self, command: Command) {
        let error = || Error::EndedBecause { reason: self.reason.clone() };
        // Whoever asked may be gone as well.
        match command {
            Command::Join(_, reply) => drop(reply.send(Err(error()))),
            Command::SetDirection(_, reply) => drop(reply.send(Err(error()))),
            Command::Leave(_, reply) => drop(reply.send(())),
            Command::End(..) => {}
        }
    }
}
