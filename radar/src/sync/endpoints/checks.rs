//! The guards of an endpoint: what is found in the directory of a container that has ended is not told, and nothing is
//! written there.
//!
//! Invariant: each check looks at what is the case now, so one that passes after a look at the directory says that the
//! container lived, and had the directory in its place, when that look began.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    container::{
        attachment::Attachment,
        mount::{has_root, identity_in_container},
    },
    guards::{self, Guard},
};

/// Why an attachment can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RootLost {
    /// The container's init ended.
    #[error("the container has ended")]
    Exited,
    /// The directory is another one now; why.
    #[error("{0}")]
    Changed(String),
}

/// The guards of one endpoint, as they stood when it was opened: tests switch them off for their own thread only.
#[derive(Debug, Clone)]
pub(super) struct Checks {
    attachment: Arc<Attachment>,
    alive: bool,
    root: bool,
}

impl Checks {
    pub(super) fn of(attachment: &Arc<Attachment>) -> Self {
        let attachment = Arc::clone(attachment);
        Self { attachment, alive: guards::on(Guard::Pidfd), root: guards::on(Guard::RootCheck) }
    }

    /// Cancelled when the container ends.
    pub(super) fn exited(&self) -> CancellationToken {
        // Without its guard this is one that is never cancelled.
        self.attachment.life.exited()
    }

    /// Looks, now. Blocks, as all looks at a container's files may.
    pub(super) fn check(&self) -> Result<(), RootLost> {
        self.attachment.workers.power().look(|| self.look())
    }

    fn look(&self) -> Result<(), RootLost> {
        let claim = &self.attachment.claim;
        if self.root {
            // The pid means something only while its process lives; another one's root does not have the directory.
            match identity_in_container(self.attachment.life.pid, &claim.path) {
                Ok(now) if now == claim.identity => {}
                _ if self.exits() => return Err(RootLost::Exited),
                Ok(_) => {
                    return Err(RootLost::Changed(format!(
                        "`{}` in the container was replaced by another directory",
                        claim.path
                    )));
                }
                Err(error) => {
                    return Err(RootLost::Changed(format!(
                        "`{}` is gone: {}",
                        claim.path,
                        ksync_common::chain(&error)
                    )));
                }
            }
        }
        if self.alive && !self.attachment.life.alive() {
            return Err(RootLost::Exited);
        }
        Ok(())
    }

    /// Whether the container's init has ended, or is about to: its root and its mounts go first. The root is looked at before
    /// the process, as its pid may pass to another one.
    fn exits(&self) -> bool {
        let life = &self.attachment.life;
        !has_root(life.pid) || (self.alive && !life.alive())
    }
}
