//! Listings of a local path, with the hash of every file, for the containers that are compared with it.
//!
//! Invariant: what somebody is given was begun after he asked. Who asks while a listing is being made shares the next one
//! with all others who do, so that many containers cost the reading of a tree twice and not for each of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt, future::BoxFuture, future::Shared};
use ksync_tree::{Error, Ignore, ListOptions, Listing, Root};

use crate::blocking;

/// None when it failed: each of those who wait for it tries for himself then, and has the reason.
type Waiting = Shared<BoxFuture<'static, Option<Arc<Listing>>>>;

/// Those of one local path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listings {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Those that have not begun yet, by what is left out.
    next: Arc<Mutex<HashMap<Vec<String>, Waiting>>>,
}

impl Listings {
    /// What is below `root`, but for what is ignored and for the paths in `exclude`.
    pub(crate) async fn of(
        &self,
        root: &Arc<Root>,
        ignore: &Ignore,
        exclude: &[String],
    ) -> Result<Arc<Listing>, Error> {
        let list = {
            let (root, ignore, exclude) = (Arc::clone(root), ignore.clone(), exclude.to_vec());
            move || ksync_tree::list(&root, &ListOptions { hash: true, ignore: &ignore, exclude: &exclude })
        };
        let key = [vec![format!("{:?}", root.identity())], exclude.to_vec()].concat();
        let waiting = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = || self.begin(key.clone(), list.clone());
            next.entry(key.clone()).or_insert_with(begin).clone()
        };
        match waiting.await {
            Some(listing) => Ok(listing),
            None => blocking::run(list).await.map(Arc::new),
        }
    }

    fn begin(
        &self,
        key: Vec<String>,
        list: impl FnOnce() -> Result<Listing, Error> + Send + 'static,
    ) -> Waiting {
        let this = self.clone();
        let listing = async move {
            let _turn = this.turn.lock().await;
            // Whoever asks from here on waits for the one after this.
            this.next.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            blocking::run(list).await.map(Arc::new).ok()
        };
        // By itself: who waits for it may give up, and its turn must come and go all the same.
        let listing = tokio::spawn(listing);
        blocking::joined(listing).boxed().shared()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use ksync_tree::{Ignore, Root};

    use super::Listings;

    #[tokio::test]
    async fn who_asks_meanwhile_shares_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("first"), "").unwrap();
        let (root, ignore) = (Arc::new(Root::open(dir.path()).unwrap()), Ignore::none());
        let listings = Listings::default();
        let ask = || {
            let (listings, root, ignore) = (listings.clone(), Arc::clone(&root), ignore.clone());
            tokio::spawn(async move { listings.of(&root, &ignore, &[]).await.unwrap() })
        };
        // One is being made.
        let turn = listings.turn.lock().await;
        let (one, other) = (ask(), ask());
        while listings.next.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        fs::write(dir.path().join("second"), "").unwrap();
        drop(turn);
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert!(Arc::ptr_eq(&one, &other) && one.entries.len() == 2);
        fs::write(dir.path().join("third"), "").unwrap();
        let later = ask().await.unwrap();
        assert_eq!(later.entries.len(), 3);
        let apart = listings.of(&root, &ignore, &["first".to_owned()]).await.unwrap();
        assert_eq!(apart.entries.len(), 2);
        assert!(listings.next.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_does_not_take_the_others_listing_away() {
        let dir = tempfile::tempdir().unwrap();
        let (root, ignore) = (Arc::new(Root::open(dir.path()).unwrap()), Ignore::none());
        let listings = Listings::default();
        let turn = listings.turn.lock().await;
        let (mut one, mut other) =
            (Box::pin(listings.of(&root, &ignore, &[])), Box::pin(listings.of(&root, &ignore, &[])));
        assert!(futures::poll!(&mut one).is_pending() && futures::poll!(&mut other).is_pending());
        drop(one);
        drop(turn);
        assert!(other.await.unwrap().entries.is_empty());
        // All who have asked for the same give up.
        let turn = listings.turn.lock().await;
        let out = ["out".to_owned()];
        let mut gone = Box::pin(listings.of(&root, &ignore, &out));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        drop(turn);
        assert!(listings.of(&root, &ignore, &[]).await.unwrap().entries.is_empty());
    }
}
