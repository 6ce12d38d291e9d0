//! An outbox: files that syncthing offers to the other end, each for as long as somebody needs it.
//!
//! Invariant: a file has its name only when it is complete and its content is what the name says. One that nobody needs is
//! removed: at once when its transfer is over, and a while later when that was broken off, because whoever lost the
//! connection comes back, and goes on with what has arrived.

mod filling;
mod lease;
mod shared;

use std::{path::PathBuf, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{
    error::{Error, blocking},
    name::Name,
};
use lease::Shelf;
use shared::{Begun, Shared};

pub use filling::Filling;
pub use lease::Lease;

/// Files that syncthing offers.
#[derive(Debug)]
pub struct Outbox(Shelf);

/// A lease, or the task to bring the file.
#[derive(Debug)]
pub enum Leased {
    /// The file is there.
    Filled(Lease),
    /// Whoever asked is the one who brings its content.
    Empty(Filling),
}

impl Outbox {
    /// Of the syncthing folder `folder` in `dir`, of whose file system `percent` stay free.
    pub(crate) fn new(
        dir: PathBuf,
        folder: &str,
        percent: u64,
        client_rx: watch::Receiver<Option<syncthing::Client>>,
    ) -> Self {
        let (ended_tx, ended_rx) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(dir, percent));
        tokio::spawn(keep(Arc::clone(&shared), folder.to_owned(), client_rx.clone(), ended_rx));
        Self(Shelf { shared, ended_tx, folder: folder.into(), client_rx })
    }

    /// Whether a file is here, or is being brought.
    pub(crate) fn has(&self, name: Name) -> bool {
        self.0.shared.has(name)
    }

    /// The file of a content of so many `bytes`. Where somebody else is bringing it, that is waited for.
    pub async fn lease(&self, name: Name, bytes: u64) -> Result<Leased, Error> {
        loop {
            let shelf = self.0.clone();
            // Whoever gives up on this meanwhile has a lease, or a filling, that is dropped.
            let begun = move || {
                let begun = shelf.shared.begin(name, bytes)?;
                let lease = Lease::new(name, shelf);
                Ok(match begun {
                    Begun::Empty(empty) => (Leased::Empty(Filling::new(lease, bytes, empty)), None),
                    Begun::There(filled_rx) => (Leased::Filled(lease), Some(filled_rx)),
                })
            };
            let (leased, filled_rx) = blocking(begun).await?;
            let Some(mut filled_rx) = filled_rx else { return Ok(leased) };
            // Where it comes to nothing, the next one brings it.
            if filled_rx.wait_for(|filled| *filled).await.is_ok() {
                return Ok(leased);
            }
        }
    }
}

/// Removes what nobody needs any more, and tells syncthing; at the end everything, without a word: the folder goes, too.
async fn keep(
    shared: Arc<Shared>,
    folder: String,
    client_rx: watch::Receiver<Option<syncthing::Client>>,
    mut ended_rx: mpsc::UnboundedReceiver<()>,
) {
    loop {
        let next = shared.next();
        tokio::select! {
            ended = ended_rx.recv() => if ended.is_none() {
                return;
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        let sweeping = Arc::clone(&shared);
        let gone = blocking(move || Ok(sweeping.sweep(Instant::now()))).await.unwrap_or_default();
        let gone: Vec<String> = gone.iter().map(Name::to_string).collect();
        if let (false, Some(client)) = (gone.is_empty(), client_rx.borrow().clone()) {
            let folder = folder.clone();
            tokio::spawn(async move {
                // One that starts later finds no file anyway.
                if let Err(error) = client.scan(&folder, &gone).await {
                    tracing::debug!(
                        error = ksync_common::chain(&error),
                        "tell that files of a spool are gone"
                    );
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, time::Duration};

    use super::{lease::LINGER, *};

    struct Scene {
        dir: tempfile::TempDir,
        outbox: Arc<Outbox>,
    }

    fn scene(percent: u64) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(dir.path().to_owned(), "f", percent, watch::channel(None).1);
        Scene { dir, outbox: Arc::new(outbox) }
    }

    impl Scene {
        async fn filling(&self, content: &[u8]) -> Filling {
            let leased = self.outbox.lease(name(content), content.len() as u64).await.unwrap();
            let Leased::Empty(filling) = leased else { panic!("it is there") };
            filling
        }

        async fn brought(&self, content: &[u8]) -> Lease {
            let mut filling = self.filling(content).await;
            filling.add(content).unwrap();
            filling.finish().unwrap()
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(self.dir.path()).unwrap();
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }

        /// Waits until there is nothing left.
        async fn empty(&self) -> Duration {
            let begun = Instant::now();
            while !self.names().is_empty() {
                assert!(begun.elapsed() < LINGER * 2, "{:?}", self.names());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            begun.elapsed()
        }
    }

    fn name(content: &[u8]) -> Name {
        Name::new(*blake3::hash(content).as_bytes())
    }

    #[tokio::test]
    async fn a_content_is_brought_once_and_goes_with_its_last_lease() {
        let scene = scene(0);
        let mut filling = scene.filling(b"text").await;
        let outbox = Arc::clone(&scene.outbox);
        let second = tokio::spawn(async move { outbox.lease(name(b"text"), 4).await });
        filling.add(b"te").unwrap();
        assert_eq!(scene.names(), [name(b"text").unfinished()]);
        filling.add(b"xt").unwrap();
        let first = filling.finish().unwrap();
        let Leased::Filled(second) = second.await.unwrap().unwrap() else { panic!("brought twice") };
        let mut text = String::new();
        second.open().await.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        first.done();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(scene.names(), [name(b"text").to_string()]);
        second.done();
        assert!(scene.empty().await < LINGER / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_broken_off_is_there_for_whoever_comes_back() {
        let scene = scene(0);
        drop(scene.brought(b"text").await);
        tokio::time::sleep(LINGER / 2).await;
        let Leased::Filled(lease) = scene.outbox.lease(name(b"text"), 4).await.unwrap() else {
            panic!("it is gone")
        };
        tokio::time::sleep(LINGER * 2).await;
        assert_eq!(scene.names().len(), 1, "somebody needs it");
        drop(lease);
        let after = scene.empty().await;
        assert!(after >= LINGER / 10 * 9, "{after:?}");
    }

    #[tokio::test]
    async fn what_is_not_brought_is_brought_by_the_next() {
        let scene = scene(0);
        let mut filling = scene.filling(b"text").await;
        filling.add(b"other").unwrap();
        let outbox = Arc::clone(&scene.outbox);
        let second = tokio::spawn(async move { outbox.lease(name(b"text"), 4).await });
        assert!(matches!(filling.finish(), Err(Error::Content { .. })));
        let Leased::Empty(mut filling) = second.await.unwrap().unwrap() else { panic!("not brought") };
        filling.add(b"te").unwrap();
        let (mut file, written) = filling.take_back().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), written), ("te", 2));
        scene.empty().await;
    }

    #[tokio::test]
    async fn a_file_that_has_no_room_is_refused() {
        let refused = scene(100).outbox.lease(name(b"text"), 4).await;
        assert!(matches!(refused, Err(Error::Room { .. })), "{refused:?}");
    }
}
