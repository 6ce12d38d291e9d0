//! One end of a session's spool on a node: its outbox and inbox, and the two folders by which syncthing sees them.
//!
//! Invariant: a pair begins empty, and its directory goes with it.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use syncthing::{Client, Folder, FolderType};
use tokio::sync::watch;

use crate::{
    error::{Error, io_error},
    inbox::Inbox,
    name::Name,
    outbox::Outbox,
};

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The watcher's.
    Here,
    /// The node's.
    There,
}

impl End {
    /// How much of its file system stays free. Where less than 15 % are, kubelet removes images, by its defaults; where less
    /// than 10 % are, it evicts pods.
    fn stays_free(self) -> u8 {
        match self {
            Self::Here => 5,
            Self::There => 15,
        }
    }
}

/// One end of a spool.
#[derive(Debug)]
pub struct Pair {
    /// What goes to the other end.
    pub outbox: Outbox,
    /// What comes from there.
    pub inbox: Inbox,
    dir: PathBuf,
    out_id: String,
    in_id: String,
    percent: u8,
    client_tx: watch::Sender<Option<Client>>,
}

impl Pair {
    /// Makes `dir` anew for this `end` of the spool that the person with `device` has under `tag`; both are plain names. Blocks,
    /// and needs a runtime all the same.
    pub fn open(end: End, dir: &Path, device: &str, tag: &str) -> Result<Self, Error> {
        remove(dir)?;
        let (outgoing, incoming) = (dir.join("out"), dir.join("in"));
        for dir in [&outgoing, &incoming] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(io_error("create", dir))?;
        }
        let (up, down) = (format!("ksync-{device}-{tag}-up"), format!("ksync-{device}-{tag}-down"));
        let (out_id, in_id) = match end {
            End::Here => (up, down),
            End::There => (down, up),
        };
        let (client_tx, client_rx) = watch::channel(None);
        let percent = end.stays_free();
        Ok(Self {
            outbox: Outbox::new(outgoing, &out_id, percent.into(), client_rx),
            inbox: Inbox::new(incoming, percent.into()),
            dir: dir.to_owned(),
            out_id,
            in_id,
            percent,
            client_tx,
        })
    }

    /// Whether something of a file is here: it was under way.
    pub fn has_begun(&self, name: Name) -> bool {
        self.outbox.has(name) || self.inbox.has_begun(name)
    }

    /// Has `client`'s syncthing share both folders with `device`, the other end's, and nobody else.
    pub async fn share(&self, client: &Client, device: &str) -> Result<(), Error> {
        for (id, name, kind) in
            [(&self.out_id, "out", FolderType::SendOnly), (&self.in_id, "in", FolderType::ReceiveOnly)]
        {
            let path = self.dir.join(name);
            let folder = Folder::spool(id, &path.to_string_lossy(), kind, self.percent);
            client.put_folder(&folder.shared_with([device])).await?;
        }
        self.client_tx.send_replace(Some(client.clone()));
        Ok(())
    }

    /// Whether the other end has both folders, and is connected.
    pub async fn is_shared(&self, client: &Client, device: &str) -> Result<bool, Error> {
        for id in [&self.out_id, &self.in_id] {
            if !client.has_remote(id, device).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the folders from `client`'s syncthing; there may be no such syncthing any more.
    pub async fn unshare(&self, client: &Client) -> Result<(), Error> {
        self.client_tx.send_replace(None);
        for id in [&self.out_id, &self.in_id] {
            client.delete_folder(id).await?;
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            tracing::warn!(error = ksync_common::chain(&error), "remove a spool");
        }
    }
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", dir)(error)),
        _ => Ok(()),
    }
}
