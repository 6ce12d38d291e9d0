//! An attachment that is open, as its channel, its thread and the calls beside the stream see it.

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc as std_mpsc,
    },
    time::Duration,
};

use ksync_endpoint::{Driver, Input, News};
use ksync_tree::{Entry, Exact, Kind, content_of, is_displaced, look, pieces_of};
use tokio_util::sync::CancellationToken;

use super::{checks::Checks, error::Error, last_files::LastFiles, memory::Purse, room::Room, staged::Staged};
use crate::container::{attachment::Attachment, power::Workers};

/// How long an endpoint may take to say what stands at a path: it may be in the middle of a large tree.
const ANSWER: Duration = Duration::from_secs(30);

/// An attachment that is open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(super) attachment: Arc<Attachment>,
    pub(super) checks: Checks,
    /// Cancelled when it is to end: nothing more is written or told from then on.
    pub(super) stop: CancellationToken,
    /// Cancelled when it has ended.
    pub(super) gone: CancellationToken,
    /// The container has ended: what is there is told once more, and what is not there is not.
    exited: AtomicBool,
    pub(super) room: Room,
    pub(super) purse: Arc<Purse>,
    pub(super) staged: Staged,
    last_files: Mutex<LastFiles>,
    /// None before the endpoint runs, and when it is to end.
    driver: Mutex<Option<Driver>>,
}

impl Opened {
    pub(super) fn new(attachment: Arc<Attachment>, purse: Arc<Purse>) -> Self {
        Self {
            checks: Checks::of(&attachment),
            staged: Staged::new(attachment.workers.clone()),
            attachment,
            stop: CancellationToken::new(),
            gone: CancellationToken::new(),
            exited: AtomicBool::new(false),
            room: Room::default(),
            purse,
            last_files: Mutex::default(),
            driver: Mutex::default(),
        }
    }

    /// Whether this has to end before an endpoint of `next` begins.
    pub(super) fn precedes(&self, next: &Attachment) -> bool {
        let leaves = self.attachment.let_go.is_cancelled() || self.stop.is_cancelled();
        self.attachment.id == next.id || leaves && self.attachment.claim.identity == next.claim.identity
    }

    /// The container has ended.
    pub(super) fn set_exited(&self) {
        self.exited.store(true, Ordering::SeqCst);
    }

    fn last_files(&self) -> MutexGuard<'_, LastFiles> {
        self.last_files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client is told of these, and reads those whose content it does not get with that.
    pub(super) fn told(&self, news: &[News]) {
        let files = news.iter().filter(|news| {
            let kind = news.state.as_ref().map(|entry| entry.kind);
            kind == Some(Kind::File) && news.content.is_none()
        });
        let mut last_files = self.last_files();
        files.for_each(|news| last_files.told(&news.path));
    }

    /// Who may work in the directory.
    pub(crate) fn workers(&self) -> &Workers {
        &self.attachment.workers
    }

    /// The container has ended: its runtime may remove what the client was told of and has not read yet. Blocks.
    pub(super) fn keep_last_files(&self) {
        self.last_files().open_all(&self.attachment.root);
    }

    /// Whether the container is known to have ended.
    pub(super) fn has_exited(&self) -> bool {
        self.exited.load(Ordering::SeqCst)
    }

    /// The endpoint runs; unless it was to end meanwhile.
    pub(super) fn runs(&self, driver: Driver) {
        let mut slot = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.stop.is_cancelled() {
            *slot = Some(driver);
        }
    }

    /// It is to end.
    pub(super) fn end(&self) {
        self.stop.cancel();
        drop(self.driver.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.staged.end();
    }

    /// Returns when it is to end.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// What is said when it has ended.
    pub(crate) fn not_open(&self) -> Error {
        Error::NotOpen { attachment: self.attachment.id.clone() }
    }

    /// Tells or asks the endpoint something; one that is to end hears nothing.
    pub(super) fn send(&self, input: Input) {
        if let Some(driver) = &*self.driver.lock().unwrap_or_else(PoisonError::into_inner)
            && let Err(unheard) = driver.try_send(input)
        {
            // A staged file may be in it.
            self.attachment.workers.discard(unheard);
        }
    }

    /// Hands out the content of the file at `path` in pieces, while it is the `expected` one to the end. Blocks; on a worker.
    pub(crate) fn read(
        &self,
        path: &str,
        expected: &Entry,
        mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let changed = || Error::Changed { path: path.to_owned() };
        if self.attachment.about.excludes(path) {
            return Err(Error::LeftOut { path: path.to_owned() });
        }
        let mut hasher = blake3::Hasher::new();
        let take = |piece: &[u8]| {
            hasher.update(piece);
            take(piece)
        };
        let kept_open = self.last_files().get(path);
        let all = if let Some(file) = kept_open {
            let read = file.and_then(|file| pieces_of(&file, take));
            read.map_err(|source| Error::Read { path: path.to_owned(), source })?
        } else {
            let exact = self.exact(path, expected)?.ok_or_else(changed)?;
            content_of(&self.attachment.root, path, &exact, take)?
        };
        let as_expected = expected.hash.is_none_or(|hash| hash == *hasher.finalize().as_bytes());
        if all && as_expected { Ok(()) } else { Err(changed()) }
    }

    /// What tells that the file at `path` is still the expected one; none where it is another.
    fn exact(&self, path: &str, expected: &Entry) -> Result<Option<Exact>, Error> {
        let (entry, exact) = if path.rsplit('/').next().is_some_and(is_displaced) {
            // The endpoint has no news of these.
            let Some(looked) = look(&self.attachment.root, path)? else { return Ok(None) };
            (Arc::new(looked.entry), looked.exact)
        } else {
            let (reply_tx, reply_rx) = std_mpsc::sync_channel(1);
            self.send(Input::Exact(path.to_owned(), reply_tx));
            match reply_rx.recv_timeout(ANSWER) {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(None),
                Err(std_mpsc::RecvTimeoutError::Timeout) => {
                    return Err(Error::Busy { attachment: self.attachment.id.clone() });
                }
                Err(std_mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(self.not_open());
                }
            }
        };
        let same = entry.kind == Kind::File
            && expected.kind == Kind::File
            && entry.size == expected.size
            && (entry.hash.is_none() || expected.hash.is_none() || entry.hash == expected.hash);
        Ok(same.then_some(exact))
    }
}
