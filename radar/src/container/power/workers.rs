//! A few threads with a container's power, for whoever is not the attachment's endpoint.
//!
//! Invariant: they are of one attachment. A file system that hangs holds up nobody else, and nothing of tokio's ever runs on
//! them or is started by them.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::thread::ContainerPower;

/// As many there are at most; more work waits.
pub(crate) const MOST: usize = 16;
/// One without work ends after this.
const IDLE: Duration = Duration::from_secs(5);

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    idle: usize,
    threads: usize,
}

struct Shared {
    power: Arc<ContainerPower>,
    queue: Mutex<Queue>,
    more: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next work; none when there is none for a while.
    fn next(&self) -> Option<Work> {
        let mut queue = self.queue();
        loop {
            if let Some(work) = queue.waiting.pop_front() {
                return Some(work);
            }
            queue.idle += 1;
            let (woken, waited) = self.more.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if waited.timed_out() && queue.waiting.is_empty() {
                return None;
            }
        }
    }
}

/// Counts a thread for as long as it runs, however it ends.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.queue().threads -= 1;
    }
}

/// The threads of an attachment.
#[derive(Clone)]
pub(crate) struct Workers(Arc<Shared>);

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Workers").field(&self.0.power).finish()
    }
}

impl Workers {
    /// None runs yet.
    pub(crate) fn new(power: Arc<ContainerPower>) -> Self {
        Self(Arc::new(Shared { power, queue: Mutex::default(), more: Condvar::new() }))
    }

    /// What they may do.
    pub(crate) fn power(&self) -> &Arc<ContainerPower> {
        &self.0.power
    }

    /// Does something on one of them.
    ///
    /// # Errors
    /// There is no thread to be had, or it has ended before its work.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (done_tx, done_rx) = oneshot::channel();
        // Whoever asked may have given up.
        self.begin(move || drop(done_tx.send(work())))?;
        done_rx.await.map_err(|_| io::Error::other("the thread has ended before its work"))
    }

    /// The same, blocking.
    ///
    /// # Errors
    /// As those of [`Workers::run`].
    pub(crate) fn wait<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (done_tx, done_rx) = std::sync::mpsc::sync_channel(1);
        self.begin(move || drop(done_tx.send(work())))?;
        done_rx.recv().map_err(|_| io::Error::other("the thread has ended before its work"))
    }

    /// Drops something that is to be dropped by the container's power, such as a file that is removed with that.
    pub(crate) fn discard<T: Send + 'static>(&self, what: T) {
        if let Err(error) = self.begin(move || drop(what)) {
            tracing::warn!(%error, "no thread to remove what is unfinished; the next opening does");
        }
    }

    /// Has one of them do something. A thread of the attachment does it itself, for it can start none that has more than it has.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn begin(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if self.0.power.is_taken() {
            work();
            return Ok(());
        }
        let mut queue = self.0.queue();
        queue.waiting.push_back(Box::new(work));
        if queue.idle >= queue.waiting.len() || queue.threads >= MOST {
            self.0.more.notify_one();
            return Ok(());
        }
        queue.threads += 1;
        drop(queue);
        let counted = Counted(Arc::clone(&self.0));
        let work = move || {
            let Counted(shared) = &counted;
            if let Err(error) = shared.power.take() {
                tracing::error!(%error, "take a container's power");
                // Whoever waits hears that nothing comes.
                drop(shared.queue().waiting.pop_front());
                return;
            }
            while let Some(work) = shared.next() {
                work();
            }
        };
        let started = std::thread::Builder::new().name("ksync-worker".to_owned()).spawn(work);
        started.map(drop).inspect_err(|_| drop(self.0.queue().waiting.pop_back()))
    }
}
