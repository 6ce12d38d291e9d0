//! Who needs a file of an outbox.
//!
//! Invariant: a file is there as long as somebody has a lease of it.

use std::{fs::File, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::shared::Shared;
use crate::{
    error::{Error, blocking, io_error},
    name::Name,
};

/// How long a file stays whose transfer was broken off: a lost connection is back in a second or two.
pub(super) const LINGER: Duration = Duration::from_secs(15);

/// The files, and the way to those who look after them.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) shared: Arc<Shared>,
    /// A lease has ended. leases --ended--> keeper
    pub(super) ended_tx: mpsc::UnboundedSender<()>,
    pub(super) folder: Arc<str>,
    pub(super) client_rx: watch::Receiver<Option<syncthing::Client>>,
}

/// Somebody needs a file.
#[derive(Debug)]
pub struct Lease {
    pub(super) name: Name,
    pub(super) shelf: Shelf,
    is_done: bool,
}

impl Lease {
    pub(super) fn new(name: Name, shelf: Shelf) -> Self {
        Self { name, shelf, is_done: false }
    }

    /// Offers the file to the other end.
    pub async fn offer(&self) -> Result<(), Error> {
        let client = self.shelf.client_rx.borrow().clone().ok_or(Error::NoSyncthing)?;
        Ok(client.scan(&self.shelf.folder, &[self.name.to_string()]).await?)
    }

    /// The file, to be read from its beginning.
    pub async fn open(&self) -> Result<File, Error> {
        let path = self.shelf.shared.path(self.name);
        blocking(move || File::open(&path).map_err(io_error("open", &path))).await
    }

    /// The transfer is over.
    pub fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let linger = if self.is_done { Duration::ZERO } else { LINGER };
        self.shelf.shared.end(self.name, Instant::now() + linger);
        // The keeper ends with the last of them.
        let _ = self.shelf.ended_tx.send(());
    }
}
