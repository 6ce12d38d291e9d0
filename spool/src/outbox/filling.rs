//! A file of an outbox that is being brought.
//!
//! Invariant: what breaks off is gone at once, and what was written can be had back where the disk is what failed.

use std::{
    fs::{self, File},
    io::{self, Seek as _, Write as _},
};

use super::{lease::Lease, shared::Empty};
use crate::error::{Error, io_error};

/// A file that is being brought. Dropped, it is removed. Its methods block.
#[derive(Debug)]
pub struct Filling {
    /// None once it has its name.
    lease: Option<Lease>,
    bytes: u64,
    written: u64,
    hasher: Box<blake3::Hasher>,
    empty: Empty,
}

impl Filling {
    pub(super) fn new(lease: Lease, bytes: u64, empty: Empty) -> Self {
        Self { lease: Some(lease), bytes, written: 0, hasher: Box::default(), empty }
    }

    /// Adds a piece: all of it, or an error and nothing.
    pub fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        self.empty.file.write_all(piece)?;
        self.hasher.update(piece);
        self.written += piece.len() as u64;
        Ok(())
    }

    /// It is complete.
    pub fn finish(mut self) -> Result<Lease, Error> {
        let Some(lease) = self.lease.take() else { return Err(Error::Thread("it was finished".to_owned())) };
        let (shared, name) = (&lease.shelf.shared, lease.name);
        let from = shared.unfinished(name);
        if self.written != self.bytes || *self.hasher.finalize().as_bytes() != name.hash() {
            self.lease = Some(lease);
            return Err(Error::Content { name });
        }
        if let Err(source) = fs::rename(&from, shared.path(name)) {
            self.lease = Some(lease);
            return Err(io_error("rename", from)(source));
        }
        self.empty.filled_tx.send_replace(true);
        Ok(lease)
    }

    /// What was added so far, to be read from its beginning, and how many bytes that is. The name is somebody else's then.
    pub fn take_back(mut self) -> io::Result<(File, u64)> {
        self.empty.file.rewind()?;
        Ok((self.empty.file.try_clone()?, self.written))
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            // Before others hear that it comes to nothing, and bring it themselves.
            let _ = fs::remove_file(lease.shelf.shared.unfinished(lease.name));
            drop(std::mem::replace(&mut self.empty.filled_tx, tokio::sync::watch::channel(false).0));
        }
    }
}
