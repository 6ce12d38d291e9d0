//! The stream itself: what all attachments send, in messages, and what comes for each.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use ksync_engine::FromFar;
use ksync_proto::radar::{SyncReply, SyncRequest, radar_client::RadarClient};
use ksync_tree::Ignore;
use ksync_wire::{End, Ended, Open, Reply, ReplyDecoder, Request, RequestEncoder, TOGETHER};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Streaming, transport::Channel};

use crate::node::call_error::{CallError, limited};

/// Messages that may wait for an attachment's engine. With more of them all attachments of the node wait.
const WAITING: usize = 256;

/// A sync stream. Without it, all that was opened on it ends.
#[derive(Debug)]
pub(in crate::node) struct SyncStream {
    radar: RadarClient<Channel>,
    /// Without a bound: an engine has a limited number of jobs under way, and never waits for the network.
    /// engines --asks--> stream
    asks_tx: mpsc::UnboundedSender<(u32, Request)>,
    channels: Arc<Channels>,
    last: AtomicU32,
    _reading: AbortOnDropHandle<()>,
}

/// Why radar refuses to go on with a channel, once it does.
pub(super) type Why = Arc<OnceLock<String>>;

/// The engines by their channels; none any more once the stream has ended.
#[derive(Debug)]
struct Channels(Mutex<Option<HashMap<u32, Listener>>>);

/// Who hears of a channel.
#[derive(Debug, Clone)]
struct Listener {
    news_tx: mpsc::Sender<FromFar>,
    why: Why,
}

impl Channels {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u32, Listener>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, channel: u32) -> Option<Listener> {
        self.lock().as_ref()?.get(&channel).cloned()
    }

    fn remove(&self, channel: u32) {
        if let Some(channels) = &mut *self.lock() {
            channels.remove(&channel);
        }
    }
}

impl SyncStream {
    /// Begins it.
    pub(in crate::node) async fn begin(mut radar: RadarClient<Channel>) -> Result<Arc<Self>, CallError> {
        let (asks_tx, asks_rx) = mpsc::unbounded_channel();
        let asking = Asking { asks_rx, encoder: RequestEncoder::default() };
        let asks = futures::stream::unfold(asking, Asking::next);
        let replies = limited("Sync", radar.sync(asks)).await?;
        let channels = Arc::new(Channels(Mutex::new(Some(HashMap::new()))));
        let reading = tokio::spawn(read(replies, Arc::clone(&channels)));
        let last = AtomicU32::new(0);
        let reading = AbortOnDropHandle::new(reading);
        Ok(Arc::new(Self { radar, asks_tx, channels, last, _reading: reading }))
    }

    /// Whether nothing comes any more.
    pub(in crate::node) fn has_ended(&self) -> bool {
        self.channels.lock().is_none()
    }

    /// Opens an attachment, and returns its channel. On a stream that has ended, nothing is received but that.
    pub(super) fn open(
        &self,
        attachment: &str,
        ignore: &Ignore,
        inline: u64,
    ) -> (u32, Why, mpsc::Receiver<FromFar>) {
        let channel = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (news_tx, news_rx) = mpsc::channel(WAITING);
        let why = Why::default();
        if let Some(channels) = &mut *self.channels.lock() {
            channels.insert(channel, Listener { news_tx, why: Arc::clone(&why) });
        }
        self.ask(
            channel,
            Request::Open(Open {
                attachment: attachment.to_owned(),
                ignore: ignore.patterns().to_vec(),
                inline,
            }),
        );
        (channel, why, news_rx)
    }

    /// Asks for something in a channel.
    pub(super) fn ask(&self, channel: u32, request: Request) {
        if self.asks_tx.send((channel, request)).is_err() {
            // Its engine hears of that by the end of what it receives.
            tracing::debug!(channel, "asked for something on a stream that has ended");
        }
    }

    /// Ends a channel.
    pub(super) fn close(&self, channel: u32) {
        self.channels.remove(channel);
        self.ask(channel, Request::Close);
    }

    /// Calls beside the stream.
    pub(super) fn radar(&self) -> RadarClient<Channel> {
        self.radar.clone()
    }
}

/// The requests of all channels, to messages.
struct Asking {
    asks_rx: mpsc::UnboundedReceiver<(u32, Request)>,
    encoder: RequestEncoder,
}

impl Asking {
    /// The next message, at once, with all that waits by then up to a size.
    async fn next(mut self) -> Option<(SyncRequest, Self)> {
        let first = self.asks_rx.recv().await?;
        let mut size = first.1.size();
        let mut batch = vec![first];
        while size < TOGETHER
            && let Ok(ask) = self.asks_rx.try_recv()
        {
            size += ask.1.size();
            batch.push(ask);
        }
        Some((self.encoder.encode(batch), self))
    }
}

/// Passes on what comes, to the stream's end.
async fn read(mut replies: Streaming<SyncReply>, channels: Arc<Channels>) {
    let mut decoder = ReplyDecoder::default();
    let why = loop {
        let message = match replies.message().await {
            Ok(Some(message)) => message,
            Ok(None) => break "radar ended it".to_owned(),
            Err(status) => break status.message().to_owned(),
        };
        match decoder.decode(message) {
            Ok(told) => {
                for (channel, reply) in told {
                    pass_on(&channels, channel, reply).await;
                }
            }
            Err(error) => break ksync_common::chain(&error),
        }
    };
    tracing::info!(why, "the sync stream has ended");
    channels.lock().take();
}

async fn pass_on(channels: &Channels, channel: u32, reply: Reply) {
    // What comes for one that was closed is of no interest.
    let Some(Listener { news_tx, why }) = channels.get(channel) else { return };
    let message = match reply {
        Reply::News(news) => FromFar::News(news),
        Reply::Missed(count) => FromFar::Missed(count),
        Reply::Listed => FromFar::Listed,
        Reply::Applied { number, outcome, error, shell, held } => {
            FromFar::Applied { number, outcome, error, shell, held }
        }
        Reply::Held(file) => FromFar::Held(file),
        Reply::Marked { number, digest, rounds } => FromFar::Marked { number, digest, rounds },
        Reply::Skipped(skipped) => FromFar::Skipped(skipped),
        Reply::Ended(Ended { end, reason }) => {
            tracing::info!(channel, ?end, reason, "radar has ended the sync of an attachment");
            if end == End::TooMuch {
                why.get_or_init(|| reason);
            }
            return channels.remove(channel);
        }
    };
    if news_tx.send(message).await.is_err() {
        channels.remove(channel);
    }
}
