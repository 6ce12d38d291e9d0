//! A container's endpoint as the engine speaks to it, over the sync stream of its node.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use ksync_engine::{Far, FarContent, FromFar, Pieces, ToFar};
use ksync_tree::{Entry, Ignore};
use ksync_wire::{Content, Request};
use tokio::sync::mpsc;

use super::{
    content::{Place, read, stage},
    stream::SyncStream,
};

/// An attachment that is open. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct RemoteFar {
    stream: Arc<SyncStream>,
    channel: u32,
    attachment: String,
}

/// Opens an attachment on a stream.
pub(in crate::node) fn open(
    stream: &Arc<SyncStream>,
    attachment: &str,
    ignore: &Ignore,
    inline: u64,
) -> (RemoteFar, mpsc::Receiver<FromFar>) {
    let (channel, news_rx) = stream.open(attachment, ignore, inline);
    (RemoteFar { stream: Arc::clone(stream), channel, attachment: attachment.to_owned() }, news_rx)
}

impl RemoteFar {
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

    fn stage(&self, number: u64, path: &str, pieces: Pieces) -> BoxFuture<'static, Result<(), String>> {
        stage(self.stream.radar(), self.place(path), number, pieces).boxed()
    }

    fn read(&self, path: &str, entry: &Entry) -> BoxFuture<'static, Result<Pieces, String>> {
        read(self.stream.radar(), self.place(path), entry.clone()).boxed()
    }
}

impl Drop for RemoteFar {
    fn drop(&mut self) {
        self.stream.close(self.channel);
    }
}
