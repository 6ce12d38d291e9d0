//! Contents of small files that were read lately, so that they need not be read again to be sent.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Bytes that are remembered at most.
const MOST: usize = 8 << 20;

type Hash = [u8; 32];

/// Contents by hash; the oldest go first.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    all: HashMap<Hash, Arc<[u8]>>,
    order: VecDeque<Hash>,
    bytes: usize,
}

impl Contents {
    /// Remembers a content.
    pub(crate) fn put(&mut self, hash: Hash, content: Arc<[u8]>) {
        if content.len() > MOST || self.all.contains_key(&hash) {
            return;
        }
        self.bytes += content.len();
        self.all.insert(hash, content);
        self.order.push_back(hash);
        while self.bytes > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.all.remove(&oldest);
            self.bytes -= gone.map_or(0, |content| content.len());
        }
    }

    /// The content with this hash, if it is remembered.
    pub(crate) fn get(&self, hash: &Hash) -> Option<Arc<[u8]>> {
        self.all.get(hash).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let mut contents = Contents::default();
        let large: Arc<[u8]> = vec![0; MOST / 2].into();
        for at in 0..3 {
            contents.put([at; 32], Arc::clone(&large));
        }
        assert_eq!([0, 1, 2].map(|at| contents.get(&[at; 32]).is_some()), [false, true, true]);
        contents.put([9; 32], vec![0; MOST + 1].into());
        assert!(contents.get(&[9; 32]).is_none());
        contents.put([7; 32], Arc::from(*b"small"));
        assert_eq!(contents.get(&[7; 32]).as_deref(), Some(b"small".as_slice()));
        assert_eq!([1, 2].map(|at| contents.get(&[at; 32]).is_some()), [false, true]);
    }
}
