//! Requests to wire types and back.

use std::sync::Arc;

use ksync_proto::radar::{
    SyncAsk, SyncClose, SyncJob, SyncList, SyncOpen, SyncRequest, sync_ask::Ask, sync_job::Content as Wire,
};
use prost::Message;

use crate::{
    contents::{Carried, Received, Sent},
    error::Error,
    message::{Content, Open, Request, SHORTEST, TOGETHER},
    pack::{Packer, unpack},
    state::{hash_from, state, state_from},
};

/// Most that a message has in it: what goes together in one, and a content more, each of which is well below this.
const MOST: usize = 2 << 20;
/// Most asks that go together: twice as many of the shortest as a watcher sends. Decoded, each takes hundreds of bytes,
/// where it had two on its way.
const ASKS: usize = 2 * TOGETHER / SHORTEST;

/// A [`SyncRequest`] whose asks are counted before any of them is decoded.
#[derive(Clone, PartialEq, prost::Message)]
struct Encoded {
    #[prost(bytes = "vec", repeated, tag = "2")]
    asks: Vec<Vec<u8>>,
}

/// The watcher's end.
#[derive(Debug, Default)]
pub struct RequestEncoder {
    contents: Sent,
    packer: Packer,
}

impl RequestEncoder {
    /// A message with all of these, each with its channel. Messages are to be sent in the order in which they were made.
    pub fn encode(&mut self, batch: impl IntoIterator<Item = (u32, Request)>) -> SyncRequest {
        let asks = batch.into_iter().map(|(channel, request)| {
            let ask = match request {
                Request::Open(Open { attachment, ignore, inline }) => {
                    Ask::Open(SyncOpen { attachment_id: attachment, ignore, inline })
                }
                Request::Close => Ask::Close(SyncClose {}),
                Request::Mark(number) => Ask::Mark(number),
                Request::Release(number) => Ask::Release(number),
                Request::JudgeAgain(number) => Ask::JudgeAgain(number),
                Request::List => Ask::List(SyncList {}),
                Request::Job { number, path, old, new, content, keep } => {
                    let content = match content {
                        Content::None => None,
                        Content::Staged => Some(Wire::Staged(true)),
                        Content::Whole(content, _) => Some(match self.contents.carry(&content) {
                            Carried::Whole(content) => Wire::Whole(content),
                            Carried::SentBefore(hash) => Wire::SentBefore(hash.to_vec()),
                        }),
                    };
                    let (old, new) = (state(&old), state(&new));
                    Ask::Job(SyncJob { number, path: path.as_ref().to_owned(), old, new, keep, content })
                }
            };
            SyncAsk { channel, ask: Some(ask) }
        });
        let message = SyncRequest { asks: asks.collect(), ..SyncRequest::default() };
        match self.packer.pack_message(&message) {
            Some(packed) => SyncRequest { packed, ..SyncRequest::default() },
            None => message,
        }
    }
}

/// radar's end.
#[derive(Debug, Default)]
pub struct RequestDecoder(Received);

impl RequestDecoder {
    /// What is in a message.
    pub fn decode(&mut self, message: SyncRequest) -> Result<Vec<(u32, Request)>, Error> {
        let mut asks = message.asks;
        let packed = match message.packed.as_slice() {
            [] => Vec::new(),
            packed => Encoded::decode(unpack(packed, MOST)?.as_slice())?.asks,
        };
        if asks.len() + packed.len() > ASKS {
            return Err(Error::Malformed("more asks than go together"));
        }
        for ask in packed {
            asks.push(SyncAsk::decode(ask.as_slice())?);
        }
        asks.into_iter().map(|ask| Ok((ask.channel, self.request(ask.ask)?))).collect()
    }

    fn request(&mut self, ask: Option<Ask>) -> Result<Request, Error> {
        Ok(match ask.ok_or(Error::Malformed("nothing that is known"))? {
            Ask::Open(SyncOpen { attachment_id, ignore, inline }) => {
                Request::Open(Open { attachment: attachment_id, ignore, inline })
            }
            Ask::Close(SyncClose {}) => Request::Close,
            Ask::Mark(number) => Request::Mark(number),
            Ask::Release(number) => Request::Release(number),
            Ask::JudgeAgain(number) => Request::JudgeAgain(number),
            Ask::List(SyncList {}) => Request::List,
            Ask::Job(SyncJob { number, path, old, new, keep, content }) => {
                let content = match content {
                    None => Content::None,
                    Some(Wire::Staged(_)) => Content::Staged,
                    Some(Wire::Whole(content)) => self.whole(Carried::Whole(content))?,
                    Some(Wire::SentBefore(hash)) => self.whole(Carried::SentBefore(hash_from(&hash)?))?,
                };
                let (old, new) = (state_from(old, &path)?, state_from(new, &path)?);
                Request::Job { number, path: Arc::from(path), old, new, content, keep }
            }
        })
    }

    fn whole(&mut self, carried: Carried) -> Result<Content, Error> {
        let (content, hash) = self.0.take(carried)?;
        Ok(Content::Whole(content, Some(hash)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ksync_proto::radar::{SyncAsk, SyncRequest, sync_ask::Ask};
    use ksync_tree::{Entry, Kind};
    use prost::Message as _;

    use super::{ASKS, RequestDecoder, RequestEncoder};
    use crate::message::{Content, Open, Request};

    fn file(path: &str, content: &[u8]) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: Kind::File,
            size: content.len() as u64,
            mtime_ns: -5,
            mode: 0o4640,
            hash: Some(*blake3::hash(content).as_bytes()),
            target: None,
        }
    }

    #[test]
    fn requests_come_out_as_they_went_in() {
        let text: Arc<[u8]> = vec![b'x'; 5000].into();
        let link =
            Entry { kind: Kind::Symlink, hash: None, target: Some(b"\xff/to".to_vec()), ..file("d/f", b"") };
        let job = |number, content| Request::Job {
            number,
            path: "d/f".into(),
            old: Some(Arc::new(link.clone())),
            new: Some(Arc::new(file("d/f", &text))),
            content,
            keep: number == 1,
        };
        let gone = Request::Job {
            number: 9,
            path: "g".into(),
            old: Some(Arc::new(Entry { kind: Kind::Dir, hash: None, ..file("g", b"") })),
            new: None,
            content: Content::None,
            keep: false,
        };
        let open =
            Open { attachment: "a-1".into(), ignore: vec!["*.log".into(), ".git".into()], inline: 65_536 };
        let whole = || Content::Whole(Arc::clone(&text), None);
        let sent = vec![
            (1, Request::Open(open)),
            (1, job(1, whole())),
            (2, job(2, whole())),
            (2, job(3, Content::Staged)),
            (3, gone),
            (1, Request::Mark(7)),
            (1, Request::Release(8)),
            (1, Request::JudgeAgain(8)),
            (1, Request::List),
            (1, Request::Close),
        ];
        let (mut encoder, mut decoder) = (RequestEncoder::default(), RequestDecoder::default());
        let message = encoder.encode(sent.clone());
        assert!(!message.packed.is_empty() && message.packed.len() < 700);
        let got = decoder.decode(message).unwrap();
        // The receiver knows the hash of each content.
        let hash = Some(*blake3::hash(&text).as_bytes());
        let told = format!("{sent:?}").replace("], None)", &format!("], {hash:?})"));
        assert_eq!(format!("{got:?}"), told);
        // A single small one is sent as it is.
        assert_eq!(encoder.encode([(1, Request::Mark(1))]).asks.len(), 1);
    }

    #[test]
    fn an_older_or_broken_peer_is_an_error() {
        use ksync_proto::radar::{SyncAsk, SyncRequest};
        let nothing = SyncRequest { asks: vec![SyncAsk::default()], ..SyncRequest::default() };
        assert!(RequestDecoder::default().decode(nothing).is_err());
        let noise = SyncRequest { packed: vec![1, 2, 3], ..SyncRequest::default() };
        assert!(RequestDecoder::default().decode(noise).is_err());
    }

    /// The attack: a thousand bytes that are a gigabyte once they are decoded.
    #[test]
    fn many_asks_in_few_bytes_are_refused_before_they_are_decoded() {
        let mark = |number| SyncAsk { channel: 1, ask: Some(Ask::Mark(number)) };
        let message =
            |count: usize| SyncRequest { asks: (0..count as u64).map(mark).collect(), ..Default::default() };
        let packed = |message: &SyncRequest| SyncRequest {
            packed: zstd::bulk::compress(&message.encode_to_vec(), 1).unwrap(),
            ..Default::default()
        };
        let decoded = |message| RequestDecoder::default().decode(message);
        assert_eq!(decoded(message(ASKS)).unwrap().len(), ASKS);
        assert_eq!(decoded(packed(&message(ASKS))).unwrap().len(), ASKS);
        for refused in [message(ASKS + 1), packed(&message(ASKS + 1))] {
            let error = decoded(refused).unwrap_err();
            assert_eq!(error.to_string(), "a message of the sync stream has more asks than go together");
        }
        // Nothing is in them, which would be found out at the first.
        let empty = SyncRequest { asks: vec![SyncAsk::default(); ASKS + 1], ..Default::default() };
        assert!(decoded(packed(&empty)).unwrap_err().to_string().ends_with("more asks than go together"));
    }

    #[test]
    fn no_message_breaks_it() {
        let requests = |packed: bool| {
            let content: Arc<[u8]> = vec![b'x'; if packed { 5000 } else { 50 }].into();
            let new = Some(Arc::new(file("d/f", &content)));
            let content = Content::Whole(content, None);
            let job = Request::Job { number: 7, path: "d/f".into(), old: None, new, content, keep: true };
            let open = Request::Open(Open { attachment: "a".into(), ignore: vec!["*.o".into()], inline: 9 });
            RequestEncoder::default().encode(vec![
                (1, open),
                (1, Request::List),
                (2, job),
                (3, Request::Mark(4)),
            ])
        };
        let samples = [requests(false).encode_to_vec(), requests(true).encode_to_vec()];
        ksync_mangle::each(&samples.each_ref().map(Vec::as_slice), |bytes| {
            let Ok(message) = SyncRequest::decode(bytes) else { return };
            if let Ok(asked) = RequestDecoder::default().decode(message) {
                assert!(asked.len() <= ASKS);
            }
        });
    }
}
