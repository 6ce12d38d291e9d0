//! A bounded channel whose sender never waits: who sends is the system's own thread, which must go on reading.
//!
//! Invariant: what does not fit is lost, and the receiver is told so after that, in place of what was lost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

/// The sending end. Clones send into the same channel.
#[derive(Debug)]
pub(super) struct Tx<T> {
    events: mpsc::Sender<(Instant, T)>,
    lost: Arc<AtomicBool>,
    /// What stands for all that was lost.
    overflow: T,
}

impl<T: Clone> Clone for Tx<T> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone(), lost: Arc::clone(&self.lost), overflow: self.overflow.clone() }
    }
}

/// The receiving end.
#[derive(Debug)]
pub(in crate::local) struct Rx<T> {
    events: mpsc::Receiver<(Instant, T)>,
    lost: Arc<AtomicBool>,
    overflow: T,
}

/// A channel for `bound` events; `overflow` is what the receiver gets once for those that did not fit.
pub(super) fn channel<T: Clone>(bound: usize, overflow: T) -> (Tx<T>, Rx<T>) {
    let (tx, rx) = mpsc::channel(bound);
    let lost = Arc::<AtomicBool>::default();
    let tx = Tx { events: tx, lost: Arc::clone(&lost), overflow: overflow.clone() };
    (tx, Rx { events: rx, lost, overflow })
}

impl<T: Clone> Tx<T> {
    /// Sends what happens now. Nobody may listen any more: the folder is being closed.
    pub(super) fn send(&self, event: T) {
        if let Err(TrySendError::Full(_)) = self.events.try_send((Instant::now(), event)) {
            self.lost.store(true, Ordering::SeqCst);
            // Whoever has just emptied the channel looks at the mark only after the next event: this one. Where it is full
            // still, there is a next one.
            let _ = self.events.try_send((Instant::now(), self.overflow.clone()));
        }
    }
}

impl<T: Clone> Rx<T> {
    /// The next event, with when it came; none when nobody sends any more.
    pub(in crate::local) async fn recv(&mut self) -> Option<(Instant, T)> {
        match self.take_overflow() {
            Some(overflow) => Some(overflow),
            None => self.events.recv().await,
        }
    }

    /// The next event, if there is one by now.
    pub(in crate::local) fn try_recv(&mut self) -> Option<(Instant, T)> {
        self.take_overflow().or_else(|| self.events.try_recv().ok())
    }

    fn take_overflow(&self) -> Option<(Instant, T)> {
        self.lost.swap(false, Ordering::SeqCst).then(|| (Instant::now(), self.overflow.clone()))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::channel;

    #[tokio::test]
    async fn what_does_not_fit_is_lost_and_told_once() {
        let (tx, mut rx) = channel(2, "lost");
        for event in ["a", "b", "c", "d"] {
            tx.clone().send(event);
        }
        let told: Vec<&str> = std::iter::from_fn(|| rx.try_recv().map(|(_, event)| event)).collect();
        assert_eq!(told, ["lost", "a", "b"]);
        tx.send("e");
        assert_eq!(rx.recv().await.unwrap().1, "e", "there is room again");
        assert!(rx.recv().now_or_never().is_none());
        drop(tx);
        assert!(rx.recv().await.is_none());
    }
}
