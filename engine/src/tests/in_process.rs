//! A container's endpoint in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use futures::{FutureExt, future::BoxFuture};
use ksync_endpoint::{Content, Depth, Driver, Endpoint, Input, Job, Options, Output};
use ksync_tree::{Entry, Root, Staging, content_of, look};
use tokio::sync::mpsc;

use crate::{Far, FarContent, FromFar, Pieces, ToFar};

#[derive(Debug)]
pub(super) struct InProcess {
    driver: Driver,
    root: Arc<Root>,
    staged: Arc<Mutex<HashMap<u64, Staging>>>,
    from: Mutex<Option<mpsc::Receiver<FromFar>>>,
}

impl InProcess {
    pub(super) fn start(root: Root, options: Options) -> Arc<Self> {
        let (from_tx, from_rx) = mpsc::channel(64);
        let clone = Arc::new(root.try_clone().unwrap());
        let tell = move |output| {
            let message = match output {
                Output::News(news) => FromFar::News(news),
                Output::Listed => FromFar::Listed,
                Output::Missed(count) => FromFar::Missed(count),
                Output::Applied(number, applied) => FromFar::Applied {
                    number,
                    outcome: applied.outcome,
                    error: applied.error,
                    shell: applied.shell,
                    held: applied.held,
                },
                Output::Held(file) => FromFar::Held(file),
                Output::Marked { number, digest, rounds } => FromFar::Marked { number, digest, rounds },
                Output::Skipped(skipped) => FromFar::Skipped(skipped),
                Output::Full => return false,
            };
            from_tx.blocking_send(message).is_ok()
        };
        let driver = Driver::start(Endpoint::new(root, options), "container", tell).unwrap();
        Arc::new(Self { driver, root: clone, staged: Arc::default(), from: Mutex::new(Some(from_rx)) })
    }

    pub(super) fn take_from(&self) -> mpsc::Receiver<FromFar> {
        self.from.lock().unwrap().take().unwrap()
    }

    pub(super) fn hint(&self, path: &str) {
        self.driver.send(Input::Hint(path.to_owned(), Depth::Tree));
    }

    pub(super) fn hint_all(&self) {
        self.driver.send(Input::Everything);
    }
}

impl Far for InProcess {
    fn send(&self, message: ToFar) {
        self.driver.send(match message {
            ToFar::Job { number, path, old, new, content, keep } => {
                let content = match content {
                    FarContent::None => Content::None,
                    FarContent::Whole(content) => Content::Whole(content),
                    FarContent::Staged => {
                        Content::Staged(self.staged.lock().unwrap().remove(&number).unwrap())
                    }
                };
                Input::Job(number, Job { path, old, new, content, keep })
            }
            ToFar::Mark(number) => Input::Mark(number),
            ToFar::Release(number) => Input::Release(number),
            ToFar::JudgeAgain(number) => Input::JudgeAgain(number),
            ToFar::List => Input::List,
        });
    }

    fn stage(
        &self,
        number: u64,
        path: &str,
        _: &Entry,
        mut pieces: Pieces,
    ) -> BoxFuture<'static, Result<(), String>> {
        let (root, staged, path) = (Arc::clone(&self.root), Arc::clone(&self.staged), path.to_owned());
        let staging = move || {
            let mut staging = Staging::new(&root, &path).map_err(|error| error.to_string())?;
            while let Some(piece) = pieces.blocking_recv() {
                staging.add(&piece?).map_err(|error| error.to_string())?;
            }
            staged.lock().unwrap().insert(number, staging);
            Ok(())
        };
        async { tokio::task::spawn_blocking(staging).await.unwrap() }.boxed()
    }

    fn read(&self, path: &str, entry: &Entry) -> BoxFuture<'static, Result<Pieces, String>> {
        let (pieces_tx, pieces_rx) = mpsc::channel(4);
        let (root, path, entry) = (Arc::clone(&self.root), path.to_owned(), entry.clone());
        tokio::task::spawn_blocking(move || {
            let now = look(&root, &path).ok().flatten().filter(|now| now.entry.size == entry.size);
            let read = now.map(|now| {
                content_of(&root, &path, &now.exact, |piece| {
                    match pieces_tx.blocking_send(Ok(piece.to_vec())) {
                        Ok(()) => std::ops::ControlFlow::Continue(()),
                        Err(_) => std::ops::ControlFlow::Break(()),
                    }
                })
            });
            if !matches!(read, Some(Ok(true))) {
                let _ = pieces_tx.blocking_send(Err("it is another".to_owned()));
            }
        });
        async { Ok(pieces_rx) }.boxed()
    }
}
