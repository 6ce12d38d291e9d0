//! Replies to wire types and back.

use std::sync::Arc;

use ksync_endpoint::{HeldFile, News};
use ksync_merge::{Digest, Outcome, State};
use ksync_proto::radar::{
    AttachmentEnd, SyncApplied, SyncEnded, SyncHeld, SyncListed, SyncMarked, SyncNews, SyncNewsItem,
    SyncOutcome, SyncReply, SyncSkipped, SyncTold, sync_news_item::Content as Wire, sync_told::Told,
};
use prost::Message;

use crate::{
    contents::{Carried, Received, Sent},
    error::Error,
    message::{End, Ended, Reply},
    pack::{Packer, unpack},
    state::{bare, entry, entry_from, hash_from, state, state_from},
};

/// Most that a message has in it: radar tells in pieces of some hundred kilobytes, except of what can't be looked at.
const MOST: usize = 16 << 20;
/// Most that is told of paths in one of them: they wait for an engine in great number.
const PIECE: usize = 2 << 20;
/// Longest path, and target of a symlink, in bytes: a kernel's PATH_MAX (path_resolution(7)).
const LONGEST: usize = 4096;

/// radar's end.
#[derive(Debug, Default)]
pub struct ReplyEncoder {
    contents: Sent,
    packer: Packer,
}

impl ReplyEncoder {
    /// A message with all of these, each with its channel. Messages are to be sent in the order in which they were made.
    pub fn encode(&mut self, batch: impl IntoIterator<Item = (u32, Reply)>) -> SyncReply {
        let told =
            batch.into_iter().map(|(channel, reply)| SyncTold { channel, told: Some(self.told(reply)) });
        let message = SyncReply { told: told.collect(), packed: Vec::new() };
        match self.packer.pack_message(&message) {
            Some(packed) => SyncReply { told: Vec::new(), packed },
            None => message,
        }
    }

    fn told(&mut self, reply: Reply) -> Told {
        match reply {
            Reply::News(news) => {
                Told::News(SyncNews { items: news.into_iter().map(|news| self.item(news)).collect() })
            }
            Reply::Missed(count) => Told::Missed(count),
            Reply::Listed => Told::Listed(SyncListed {}),
            Reply::Applied { number, outcome, error, shell, held } => {
                let (outcome, now) = match outcome {
                    Outcome::Done(now) => (SyncOutcome::Done, now),
                    Outcome::Refused(now) => (SyncOutcome::Refused, now),
                    Outcome::Failed => (SyncOutcome::Failed, None),
                };
                Told::Applied(SyncApplied {
                    number,
                    outcome: outcome.into(),
                    state: now.as_deref().map(entry),
                    error: error.unwrap_or_default(),
                    shell,
                    held: held.unwrap_or_default(),
                })
            }
            Reply::Held(HeldFile { number, path, at, entry, changed }) => {
                Told::Held(SyncHeld { number, path, at, entry: Some(bare(&entry)), changed })
            }
            Reply::Marked { number, digest, rounds } => {
                Told::Marked(SyncMarked { number, digest: digest.to_bytes().to_vec(), rounds })
            }
            Reply::Skipped(skipped) => Told::Skipped(SyncSkipped { reasons: skipped.into_iter().collect() }),
            Reply::Ended(Ended { end, reason }) => {
                let why = match end {
                    End::Closed => AttachmentEnd::Unspecified,
                    End::ContainerExited => AttachmentEnd::ContainerExited,
                    End::RootChanged => AttachmentEnd::RootChanged,
                    End::Detached => AttachmentEnd::TakenOver,
                    End::TooMuch => AttachmentEnd::TooMuch,
                };
                Told::Ended(SyncEnded { why: why.into(), reason })
            }
        }
    }

    fn item(&mut self, news: News) -> SyncNewsItem {
        let content = news.content.map(|content| match self.contents.carry(&content) {
            Carried::Whole(content) => Wire::Whole(content),
            Carried::SentBefore(hash) => Wire::SentBefore(hash.to_vec()),
        });
        SyncNewsItem { path: news.path.as_ref().to_owned(), state: state(&news.state), content }
    }
}

/// The watcher's end.
#[derive(Debug, Default)]
pub struct ReplyDecoder(Received);

impl ReplyDecoder {
    /// What is in a message. What a newer radar tells beside that is passed over.
    pub fn decode(&mut self, message: SyncReply) -> Result<Vec<(u32, Reply)>, Error> {
        let mut told = message.told;
        if !message.packed.is_empty() {
            told.extend(SyncReply::decode(unpack(&message.packed, MOST)?.as_slice())?.told);
        }
        let known = told.into_iter().filter_map(|told| Some((told.channel, told.told?)));
        known.map(|(channel, told)| Ok((channel, self.reply(told)?))).collect()
    }

    fn reply(&mut self, told: Told) -> Result<Reply, Error> {
        Ok(match told {
            Told::News(news) if news.encoded_len() > PIECE => {
                return Err(Error::Malformed("more news in one piece than radar tells"));
            }
            Told::News(news) => {
                Reply::News(news.items.into_iter().map(|item| self.news(item)).collect::<Result<_, _>>()?)
            }
            Told::Missed(count) => Reply::Missed(count),
            Told::Listed(SyncListed {}) => Reply::Listed,
            Told::Applied(applied) => {
                let outcome = outcome(&applied)?;
                let SyncApplied { number, error, shell, held, .. } = applied;
                let error = Some(error).filter(|error| !error.is_empty());
                Reply::Applied { number, outcome, error, shell, held: (held > 0).then_some(held) }
            }
            Told::Held(SyncHeld { number, path, at, entry, changed }) => {
                let entry = entry.ok_or(Error::Malformed("a held file without an entry"))?;
                let entry = entry_from(entry, &at)?;
                Reply::Held(HeldFile { number, path, at, entry, changed })
            }
            Told::Marked(SyncMarked { number, digest, rounds }) => {
                let digest = digest.try_into().map_err(|_| Error::Malformed("a digest of odd length"))?;
                Reply::Marked { number, digest: Digest::from_bytes(digest), rounds }
            }
            Told::Skipped(SyncSkipped { reasons }) => Reply::Skipped(reasons.into_iter().collect()),
            Told::Ended(ended) => {
                let end = match ended.why() {
                    AttachmentEnd::ContainerExited => End::ContainerExited,
                    AttachmentEnd::RootChanged => End::RootChanged,
                    AttachmentEnd::TakenOver | AttachmentEnd::Unproved => End::Detached,
                    AttachmentEnd::TooMuch => End::TooMuch,
                    AttachmentEnd::Unspecified => End::Closed,
                };
                Reply::Ended(Ended { end, reason: ended.reason })
            }
        })
    }

    fn news(&mut self, item: SyncNewsItem) -> Result<News, Error> {
        let SyncNewsItem { path, state, content } = item;
        if path.len() > LONGEST || state.as_ref().is_some_and(|entry| entry.target.len() > LONGEST) {
            return Err(Error::Malformed("a path that is longer than any"));
        }
        let state = state_from(state, &path)?;
        let content = match content {
            None => None,
            Some(Wire::Whole(content)) => Some(Carried::Whole(content)),
            Some(Wire::SentBefore(hash)) => Some(Carried::SentBefore(hash_from(&hash)?)),
        };
        // One that is not what it is said to be is none; the order of contents goes on with it all the same.
        let content = content.map(|content| self.0.take(content)).transpose()?;
        let expected = state.as_ref().and_then(|entry| entry.hash);
        let content = content.filter(|(_, hash)| expected == Some(*hash)).map(|(content, _)| content);
        Ok(News { path: Arc::from(path), state, content })
    }
}

fn outcome(applied: &SyncApplied) -> Result<Outcome, Error> {
    let now = || -> Result<State, Error> {
        let path = applied.state.as_ref().map(|entry| entry.path.clone()).unwrap_or_default();
        state_from(applied.state.clone(), &path)
    };
    match applied.outcome() {
        SyncOutcome::Done => Ok(Outcome::Done(now()?)),
        SyncOutcome::Refused => Ok(Outcome::Refused(now()?)),
        SyncOutcome::Failed => Ok(Outcome::Failed),
        SyncOutcome::Unspecified => Err(Error::Malformed("an answer without an outcome")),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use ksync_endpoint::{HeldFile, News};
    use ksync_merge::{Digest, Outcome};
    use ksync_proto::radar::SyncReply;
    use ksync_tree::{Entry, Kind};
    use prost::Message as _;

    use super::{ReplyDecoder, ReplyEncoder};
    use crate::message::{End, Ended, Reply};

    fn file(path: &str, content: &[u8]) -> Entry {
        let hash = Some(*blake3::hash(content).as_bytes());
        let (path, size) = (path.to_owned(), content.len() as u64);
        Entry { path, kind: Kind::File, size, mtime_ns: 1, mode: 0o644, hash, target: None }
    }

    #[test]
    fn replies_come_out_as_they_went_in() {
        let text: Arc<[u8]> = vec![b'y'; 3000].into();
        let found = |path: &str, content: Option<&Arc<[u8]>>| News {
            path: path.into(),
            state: Some(Arc::new(file(path, &text))),
            content: content.cloned(),
        };
        let gone = News { path: "gone".into(), state: None, content: None };
        let told = || {
            let news =
                vec![found("a", Some(&text)), found("b", Some(&text)), found("big", None), gone.clone()];
            let applied =
                |number, outcome, error, shell, held| Reply::Applied { number, outcome, error, shell, held };
            let now = Some(Arc::new(file("d/now", b"now")));
            let mut skipped = BTreeMap::new();
            skipped.insert("pipe".to_owned(), "it is a fifo".to_owned());
            let at = "d/.ksync.was-1.tmp";
            let (path, entry) = ("d/f".to_owned(), file(at, b"old"));
            vec![
                (1, Reply::News(news)),
                (1, Reply::Missed(3)),
                (2, Reply::Listed),
                (2, applied(1, Outcome::Done(now.clone()), None, false, Some(4))),
                (2, applied(2, Outcome::Refused(None), None, false, None)),
                (2, applied(3, Outcome::Failed, Some("no room".into()), true, None)),
                (2, Reply::Held(HeldFile { number: 4, path, at: at.into(), entry, changed: true })),
                (2, Reply::Marked { number: 5, digest: Digest::from_bytes([9; 16]), rounds: 6 }),
                (2, Reply::Skipped(skipped)),
                (2, Reply::Ended(Ended { end: End::RootChanged, reason: "it was replaced".into() })),
            ]
        };
        let (mut encoder, mut decoder) = (ReplyEncoder::default(), ReplyDecoder::default());
        let got = decoder.decode(encoder.encode(told())).unwrap();
        assert_eq!(format!("{got:?}"), format!("{:?}", told()));
        // Once more, with all contents known by now.
        let got = decoder.decode(encoder.encode(told())).unwrap();
        assert_eq!(format!("{got:?}"), format!("{:?}", told()));
    }

    /// The attack: a radar that was taken over fills the watcher's memory.
    #[test]
    fn no_message_takes_more_than_radar_ever_tells() {
        let news = |path: String, content: usize| {
            let state = Some(Arc::new(file(&path, b"")));
            News { path: path.into(), state, content: (content > 0).then(|| vec![b'x'; content].into()) }
        };
        let decoded = |news: Vec<News>| {
            let message = ReplyEncoder::default().encode([(1, Reply::News(news))]);
            ReplyDecoder::default().decode(message).map(drop).map_err(|error| error.to_string())
        };
        assert!(decoded(vec![news("a/".repeat(2048), 1 << 20)]).is_ok());
        let said = |what: &str| Err(format!("a message of the sync stream has {what}"));
        assert_eq!(decoded(vec![news("a".repeat(4097), 0)]), said("a path that is longer than any"));
        let many = (0..40_000).map(|number| news(format!("{number:0100}"), 0)).collect();
        assert_eq!(decoded(many), said("more news in one piece than radar tells"));
    }

    #[test]
    fn a_content_that_is_another_than_announced_is_none() {
        let entry = Some(Arc::new(file("a", b"announced")));
        let news = News { path: "a".into(), state: entry, content: Some(Arc::from(&b"another"[..])) };
        let message = ReplyEncoder::default().encode([(1, Reply::News(vec![news]))]);
        let got = ReplyDecoder::default().decode(message).unwrap();
        let [(1, Reply::News(news))] = got.as_slice() else { panic!("{got:?}") };
        assert!(news[0].content.is_none() && news[0].state.is_some());
    }

    #[test]
    fn no_message_breaks_it() {
        let replies = |long: usize| {
            let content: Arc<[u8]> = vec![b'x'; long].into();
            let state = Some(Arc::new(file("d/f", &content)));
            let news = News { path: "d/f".into(), state, content: Some(content) };
            ReplyEncoder::default().encode([
                (1, Reply::News(vec![news])),
                (1, Reply::Listed),
                (2, Reply::Missed(3)),
                (2, Reply::Skipped([("p".to_owned(), "a pipe".to_owned())].into())),
                (3, Reply::Ended(Ended { end: End::RootChanged, reason: "gone".to_owned() })),
            ])
        };
        let samples = [replies(50), replies(5000)].map(|message| message.encode_to_vec());
        ksync_mangle::each(&samples.each_ref().map(Vec::as_slice), |bytes| {
            let Ok(message) = SyncReply::decode(bytes) else { return };
            if let Ok(told) = ReplyDecoder::default().decode(message) {
                // A state stands at the path that its news is of, whatever it names itself.
                let news = told.iter().filter_map(|(_, reply)| match reply {
                    Reply::News(news) => Some(news),
                    _ => None,
                });
                for News { path, state, .. } in news.flatten() {
                    assert!(state.as_ref().is_none_or(|entry| entry.path == **path));
                }
            }
        });
    }
}
