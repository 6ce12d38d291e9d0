//! A container's endpoint as the engine speaks to it, over the sync stream of its node.

use std::sync::{Arc, OnceLock};

use futures::{FutureExt as _, future::BoxFuture};
use ksync_engine::{Far, FarContent, FromFar, Pieces, ToFar};
use ksync_tree::{Entry, Ignore};
use ksync_wire::{Content, Request};
use tokio::sync::mpsc;

use super::{
    content::Place,
    spooled::{read, stage},
    stream::{SyncStream, Why},
};
use crate::node::spool::Spool;

/// An attachment that is open. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct RemoteFar {
    stream: Arc<SyncStream>,
    spool: Arc<Spool>,
    channel: u32,
    attachment: String,
    why: Why,
}

/// Opens an attachment on a stream.
pub(in crate::node) fn open(
    stream: &Arc<SyncStream>,
    spool: &Arc<Spool>,
    attachment: &str,
    ignore: &Ignore,
    inline: u64,
) -> (RemoteFar, mpsc::Receiver<FromFar>) {
    let (channel, why, news_rx) = stream.open(attachment, ignore, inline);
    let (stream, spool, attachment) = (Arc::clone(stream), Arc::clone(spool), attachment.to_owned());
    (RemoteFar { stream, spool, channel, attachment, why }, news_rx)
}

impl RemoteFar {
    /// Why radar refuses to go on with it, once it does.
    pub(crate) fn why(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.why)
    }

    fn place(&self, path: &str) -> Place {
        Place { attachment: self.attachment.clone(), path: path.to_owned() }
    }
}

impl Far for RemoteFar {
    fn send(&self, message: ToFar) {
        let request = match message {
            ToFar::Job { number, path, old, new, content, keep } => {
                let content = match content {
                    FarContent::None => Content::None,
                    FarContent::Whole(content) => Content::Whole(content, None),
                    FarContent::Staged => Content::Staged,
                };
                Request::Job { number, path, old, new, content, keep }
            }
            ToFar::Mark(number) => Request::Mark(number),
            ToFar::Release(number) => Request::Release(number),
            ToFar::JudgeAgain(number) => Request::JudgeAgain(number),
            ToFar::List => Request::List,
        };
        self.stream.ask(self.channel, request);
    }

    fn stage(
        &self,
        number: u64,
        path: &str,
        entry: &Entry,
        pieces: Pieces,
    ) -> BoxFuture<'static, Result<(), String>> {
        let (radar, place) = (self.stream.radar(), self.place(path));
        let (spool, entry) = (Arc::clone(&self.spool), entry.clone());
        async move { stage(radar, place, number, &entry, pieces, &spool).await }.boxed()
    }

    fn read(&self, path: &str, entry: &Entry) -> BoxFuture<'static, Result<Pieces, String>> {
        read(self.stream.radar(), self.place(path), entry.clone(), Arc::clone(&self.spool)).boxed()
    }
}

impl Drop for RemoteFar {
    fn drop(&mut self) {
        self.stream.close(self.channel);
    }
}
