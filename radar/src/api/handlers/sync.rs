//! The stream of a person's sync: requests to their channels, and the replies of all channels in messages.
//!
//! Invariant: what is ready goes at once, and what comes meanwhile goes together after it. A client that is slow to read
//! makes its endpoints wait; a channel that is slow to obey is ended before it holds up the others for long.

pub(super) mod content;
pub(super) mod spooled;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use ksync_keys::Fingerprint;
use ksync_proto::radar::{SyncReply, SyncRequest};
use ksync_wire::{End, Ended, Reply as Told, ReplyEncoder, Request, RequestDecoder, TOGETHER};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::replies::Replies;
use crate::{
    api::status,
    sync::{
        endpoints::{self, Ask, Endpoints, Purse},
        registry::{Command, Registry},
    },
};

/// Replies that may wait for the network; the largest are about 64 KiB.
const WAITING: usize = 64;
/// Channels of one stream: more than the attachments that a person may have.
const CHANNELS: usize = 1024;
/// How long a channel may keep the others' requests waiting for its own.
const SLOW: Duration = Duration::from_secs(60);

pub(super) fn open(
    person: Fingerprint,
    registry: Registry,
    endpoints: Endpoints,
    requests: Streaming<SyncRequest>,
) -> Replies<SyncReply> {
    let (replies_tx, replies_rx) = mpsc::channel(WAITING);
    let purse = endpoints.purse(person);
    let reader = Reader {
        person,
        purse,
        registry,
        endpoints,
        replies_tx,
        decoder: RequestDecoder::default(),
        channels: HashMap::new(),
    };
    // Ends with the reply's stream, so with the call, and its channels with it.
    let reading = AbortOnDropHandle::new(tokio::spawn(reader.read(requests)));
    let sending = Sending { replies_rx, encoder: ReplyEncoder::default(), reading: Some(reading) };
    Box::pin(futures::stream::unfold(sending, Sending::next))
}

struct Reader {
    person: Fingerprint,
    /// What requests take of radar's memory while they wait.
    purse: Arc<Purse>,
    registry: Registry,
    endpoints: Endpoints,
    replies_tx: mpsc::Sender<(u32, Told)>,
    decoder: RequestDecoder,
    channels: HashMap<u32, mpsc::Sender<Ask>>,
}

impl Reader {
    /// Reads until the client's end of the stream; an error where that is not its end.
    async fn read(mut self, mut requests: Streaming<SyncRequest>) -> Result<(), Status> {
        while let Some(message) = requests.message().await? {
            let asked = self.decoder.decode(message).map_err(|error| status::from_wire(&error))?;
            for (channel, request) in asked {
                self.pass_on(channel, request).await?;
            }
        }
        Ok(())
    }

    /// Whether as many channels as may be are open, without those that have ended.
    fn is_full(&mut self) -> bool {
        if self.channels.len() >= CHANNELS {
            self.channels.retain(|_, requests_tx| !requests_tx.is_closed());
        }
        self.channels.len() >= CHANNELS
    }

    async fn pass_on(&mut self, channel: u32, request: Request) -> Result<(), Status> {
        match request {
            Request::Open(_) if self.channels.contains_key(&channel) => {
                Err(Status::invalid_argument(format!("channel {channel} is open already")))
            }
            Request::Open(_) if self.is_full() => Err(Status::resource_exhausted(format!(
                "more than {CHANNELS} directories open on one stream"
            ))),
            Request::Open(open) => {
                let (person, id) = (self.person, open.attachment.clone());
                let found = self.registry.ask(|reply| Command::Find(person, id, reply)).await;
                let replies_tx = self.replies_tx.clone();
                match found {
                    Ok(attachment) => {
                        let replies = endpoints::Replies { channel, replies_tx };
                        let endpoints = self.endpoints.clone();
                        let requests_tx = endpoints::open(endpoints, attachment, open, replies);
                        self.channels.insert(channel, requests_tx);
                    }
                    Err(error) => {
                        let ended = Ended { end: End::Detached, reason: ksync_common::chain(&error) };
                        // Without a receiver the stream has ended.
                        drop(replies_tx.send((channel, Told::Ended(ended))).await);
                    }
                }
                Ok(())
            }
            Request::Close => {
                self.channels.remove(&channel);
                Ok(())
            }
            request => {
                // One that has ended has told so.
                let Some(requests_tx) = self.channels.get(&channel) else { return Ok(()) };
                let held = match &request {
                    Request::Job { .. } => Some(self.purse.hold(request.size()).await?),
                    _ => None,
                };
                if requests_tx.send_timeout(Ask { request, held }, SLOW).await.is_err() {
                    self.channels.remove(&channel);
                }
                Ok(())
            }
        }
    }
}

struct Sending {
    replies_rx: mpsc::Receiver<(u32, Told)>,
    encoder: ReplyEncoder,
    /// None after the last message.
    reading: Option<AbortOnDropHandle<Result<(), Status>>>,
}

impl Sending {
    /// The next message, with all that waits up to a size.
    async fn next(mut self) -> Option<(Result<SyncReply, Status>, Self)> {
        let reading = self.reading.as_mut()?;
        let first = tokio::select! {
            biased;
            // Without a sender, that of the reader among them, what remains is how the reading has ended.
            Some(reply) = self.replies_rx.recv() => reply,
            read = reading => {
                self.reading = None;
                let read = read.map_err(|error| Status::internal(format!("read the stream: {error}")));
                return read.and_then(|read| read).err().map(|status| (Err(status), self));
            }
        };
        let mut size = first.1.size();
        let mut batch = vec![first];
        while size < TOGETHER
            && let Ok(reply) = self.replies_rx.try_recv()
        {
            size += reply.1.size();
            batch.push(reply);
        }
        Some((Ok(self.encoder.encode(batch)), self))
    }
}
