//! The contents that were sent lately in one direction of a stream. Each end has such a memory of its own, and never asks the
//! other about it.
//!
//! Invariant: both memories go through the same changes: a content that is sent whole is remembered, one that is only named
//! changes nothing, and the oldest goes first. Messages come in the order in which they were sent.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::error::Error;

type Hash = [u8; 32];

/// How many bytes are remembered. Part of the protocol: another number needs another capability.
const LIMIT: usize = 16 << 20;
/// Most that one content may have. A watcher stages what has more than 64 KiB, and radar tells no more than this.
pub const LARGEST: usize = 1 << 20;
/// A shorter content is not worth its hash. Part of the protocol, too.
const LEAST: usize = 128;

/// What a message has of a content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// All of it.
    Whole(Vec<u8>),
    /// The hash of one that was carried before.
    SentBefore(Hash),
}

#[derive(Debug)]
struct Memory<T> {
    known: HashMap<Hash, T>,
    order: VecDeque<(Hash, usize)>,
    bytes: usize,
    limit: usize,
}

impl<T> Memory<T> {
    fn new(limit: usize) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), bytes: 0, limit }
    }

    /// Remembers a content that was sent whole.
    fn add(&mut self, hash: Hash, size: usize, what: T) {
        if size < LEAST || size > self.limit || self.known.contains_key(&hash) {
            return;
        }
        self.known.insert(hash, what);
        self.order.push_back((hash, size));
        self.bytes += size;
        while self.bytes > self.limit
            && let Some((oldest, size)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
            self.bytes -= size;
        }
    }
}

/// The sending end's memory.
#[derive(Debug)]
pub(crate) struct Sent(Memory<()>);

impl Default for Sent {
    fn default() -> Self {
        Self(Memory::new(LIMIT))
    }
}

impl Sent {
    /// What the message that is sent next has of `content`.
    pub(crate) fn carry(&mut self, content: &[u8]) -> Carried {
        // Hashed here, whatever the sender takes its hash to be: the other end can do no more.
        let hash = *blake3::hash(content).as_bytes();
        if self.0.known.contains_key(&hash) {
            return Carried::SentBefore(hash);
        }
        self.0.add(hash, content.len(), ());
        Carried::Whole(content.to_vec())
    }
}

/// The receiving end's memory.
#[derive(Debug)]
pub(crate) struct Received(Memory<Arc<[u8]>>);

impl Default for Received {
    fn default() -> Self {
        Self(Memory::new(LIMIT))
    }
}

impl Received {
    /// The content that a message carried, and its hash.
    pub(crate) fn take(&mut self, carried: Carried) -> Result<(Arc<[u8]>, Hash), Error> {
        match carried {
            Carried::Whole(content) if content.len() > LARGEST => {
                Err(Error::Malformed("a content that is to be staged"))
            }
            Carried::Whole(content) => {
                let hash = *blake3::hash(&content).as_bytes();
                let content: Arc<[u8]> = content.into();
                self.0.add(hash, content.len(), Arc::clone(&content));
                Ok((content, hash))
            }
            Carried::SentBefore(hash) => {
                let content = self.0.known.get(&hash).ok_or(Error::UnknownContent)?;
                Ok((Arc::clone(content), hash))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::{Carried, LARGEST, Memory, Received, Sent};

    /// A content that is known by its number and size.
    fn content(number: u8, size: usize) -> Vec<u8> {
        vec![number; size]
    }

    #[test]
    fn both_ends_remember_the_same_whatever_is_sent() {
        for seed in 0..50 {
            let mut random = StdRng::seed_from_u64(seed);
            let limit = random.random_range(1_000..20_000);
            let (mut sent, mut received) = (Sent(Memory::new(limit)), Received(Memory::new(limit)));
            let (mut whole, mut named) = (0, 0);
            for _ in 0..2_000 {
                // Some are larger than the limit, some too small to be remembered.
                let number = random.random_range(0..40_u8);
                let size = [0, 10, 127, 128, 500, 3_000, limit, limit + 1][usize::from(number) % 8];
                let content = content(number, size);
                let carried = sent.carry(&content);
                match carried {
                    Carried::Whole(_) => whole += 1,
                    Carried::SentBefore(_) => named += 1,
                }
                let (got, hash) = received.take(carried).unwrap();
                assert_eq!((&*got, hash), (content.as_slice(), *blake3::hash(&content).as_bytes()));
                assert_eq!(sent.0.order, received.0.order, "seed {seed}");
                assert!(sent.0.bytes <= limit && sent.0.known.len() == sent.0.order.len());
            }
            assert!(whole > 0 && named > 0, "seed {seed}: {whole} whole, {named} named");
        }
    }

    #[test]
    fn what_was_never_sent_is_an_error() {
        let mut received = Received::default();
        assert!(received.take(Carried::SentBefore([7; 32])).is_err());
        // Too small to be remembered: whoever names it is not in step.
        let small = content(1, 10);
        received.take(Carried::Whole(small.clone())).unwrap();
        assert!(received.take(Carried::SentBefore(*blake3::hash(&small).as_bytes())).is_err());
    }

    #[test]
    fn what_is_to_be_staged_does_not_go_with_a_message() {
        let mut received = Received::default();
        received.take(Carried::Whole(content(1, LARGEST))).unwrap();
        let error = received.take(Carried::Whole(content(1, LARGEST + 1))).unwrap_err();
        assert_eq!(error.to_string(), "a message of the sync stream has a content that is to be staged");
    }

    #[test]
    fn a_content_for_thirty_containers_goes_once() {
        let mut sent = Sent::default();
        let content = content(1, 50_000);
        let whole = (0..30).filter(|_| matches!(sent.carry(&content), Carried::Whole(_))).count();
        assert_eq!(whole, 1);
    }
}
