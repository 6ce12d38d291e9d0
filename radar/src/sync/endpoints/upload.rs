//! A large file on its way to the place beside its own, where it waits for its job.
//!
//! Invariant: what breaks off is gone at once.

use std::sync::Arc;

use ksync_tree::Staging;

use super::{error::Error, opened::Opened};

/// A file that is being staged. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Upload {
    opened: Arc<Opened>,
    number: u64,
    path: String,
    hasher: blake3::Hasher,
    staging: Staging,
}

impl Upload {
    /// Begins one for the job `number`. Blocks; on a worker, as all of this.
    pub(crate) fn begin(opened: Arc<Opened>, number: u64, path: String) -> Result<Self, Error> {
        let attachment = &opened.attachment;
        if attachment.about.excludes(&path) {
            return Err(Error::LeftOut { path });
        }
        opened.checks.check()?;
        let staging = Staging::new(&attachment.root, &path);
        let denied = || Error::Denied { who: attachment.workers.power().who(), path: path.clone() };
        let staging =
            staging.map_err(|error| if error.is_denied() { denied() } else { Error::Tree(error) })?;
        Ok(Self { opened, number, path, hasher: blake3::Hasher::new(), staging })
    }

    /// Adds a piece. Blocks.
    pub(crate) fn add(&mut self, piece: &[u8]) -> Result<(), Error> {
        if self.opened.stop.is_cancelled() {
            return Err(Error::NotOpen { attachment: self.opened.attachment.id.clone() });
        }
        self.hasher.update(piece);
        Ok(self.staging.add(piece)?)
    }

    /// It is complete where this is its hash, and waits for its job then.
    pub(crate) fn finish_as(self, hash: [u8; 32]) -> Result<bool, Error> {
        if *self.hasher.finalize().as_bytes() != hash {
            return Ok(false);
        }
        self.finish().map(|()| true)
    }

    /// It is complete, and waits for its job.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Self { opened, number, path, hasher, staging } = self;
        let hash = *hasher.finalize().as_bytes();
        opened.staged.add(&opened.attachment.id, number, path, hash, staging)
    }
}
