//! A bounded channel whose sender never waits: who sends is the system's own thread, which must go on reading.
//!
//! Invariant: what does not fit is lost, and the receiver is told so after that, in place of what was lost. An event that nothing
//! can stand for is put aside instead, and comes after that: it may come before what was sent before it, for which the other
//! stands then.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

/// What the overflow stands for, and what does not stand for.
#[derive(Debug)]
struct Overflow<T> {
    /// Told once for all events that were lost.
    event: T,
    /// Whether the event stands for one like this: else it is put aside.
    stands_for: fn(&T) -> bool,
    spilt: Mutex<Spilt<T>>,
}

/// Events that did not fit.
#[derive(Debug)]
struct Spilt<T> {
    /// Some were lost.
    lost: bool,
    /// Those that must not be, each once.
    aside: VecDeque<(Instant, T)>,
}

impl<T> Overflow<T> {
    fn spilt(&self) -> MutexGuard<'_, Spilt<T>> {
        self.spilt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end. Clones send into the same channel.
#[derive(Debug)]
pub(super) struct Tx<T> {
    events: mpsc::Sender<(Instant, T)>,
    overflow: Arc<Overflow<T>>,
}

impl<T> Clone for Tx<T> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone(), overflow: Arc::clone(&self.overflow) }
    }
}

/// The receiving end.
#[derive(Debug)]
pub(in crate::local) struct Rx<T> {
    events: mpsc::Receiver<(Instant, T)>,
    overflow: Arc<Overflow<T>>,
}

/// A channel for `bound` events; `overflow` is what the receiver gets once for those that did not fit and that it
/// `stands_for`. The others it gets all the same.
pub(super) fn channel<T: Clone + PartialEq>(
    bound: usize,
    overflow: T,
    stands_for: fn(&T) -> bool,
) -> (Tx<T>, Rx<T>) {
    let (tx, rx) = mpsc::channel(bound);
    let spilt = Mutex::new(Spilt { lost: false, aside: VecDeque::new() });
    let overflow = Arc::new(Overflow { event: overflow, stands_for, spilt });
    (Tx { events: tx, overflow: Arc::clone(&overflow) }, Rx { events: rx, overflow })
}

impl<T: Clone + PartialEq> Tx<T> {
    /// Sends what happens now. Nobody may listen any more: the folder is being closed.
    pub(super) fn send(&self, event: T) {
        if let Err(TrySendError::Full(event)) = self.events.try_send((Instant::now(), event)) {
            self.spill(event);
            // Whoever has just emptied the channel looks at the mark only after the next event: this one. Where it is full
            // still, there is a next one.
            let _ = self.events.try_send((Instant::now(), self.overflow.event.clone()));
        }
    }

    fn spill(&self, event: (Instant, T)) {
        let mut spilt = self.overflow.spilt();
        spilt.lost = true;
        if !(self.overflow.stands_for)(&event.1) && !spilt.aside.iter().any(|(_, other)| *other == event.1) {
            spilt.aside.push_back(event);
        }
    }
}

impl<T: Clone> Rx<T> {
    /// The next event, with when it came; none when nobody sends any more.
    pub(in crate::local) async fn recv(&mut self) -> Option<(Instant, T)> {
        match self.take_spilt() {
            Some(event) => Some(event),
            None => self.events.recv().await,
        }
    }

    /// The next event, if there is one by now.
    pub(in crate::local) fn try_recv(&mut self) -> Option<(Instant, T)> {
        self.take_spilt().or_else(|| self.events.try_recv().ok())
    }

    fn take_spilt(&self) -> Option<(Instant, T)> {
        let mut spilt = self.overflow.spilt();
        if std::mem::take(&mut spilt.lost) {
            return Some((Instant::now(), self.overflow.event.clone()));
        }
        spilt.aside.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::channel;

    #[tokio::test]
    async fn what_does_not_fit_is_lost_and_told_once() {
        let (tx, mut rx) = channel(2, "lost", |event| *event != "kept");
        for event in ["a", "b", "c", "kept", "d", "kept"] {
            tx.clone().send(event);
        }
        let told: Vec<&str> = std::iter::from_fn(|| rx.try_recv().map(|(_, event)| event)).collect();
        assert_eq!(told, ["lost", "kept", "a", "b"]);
        tx.send("e");
        assert_eq!(rx.recv().await.unwrap().1, "e", "there is room again");
        for event in ["f", "g", "kept"] {
            tx.send(event);
        }
        let told: Vec<&str> = std::iter::from_fn(|| rx.try_recv().map(|(_, event)| event)).collect();
        assert_eq!(told, ["lost", "kept", "f", "g"], "it does not pass what it came after");
        assert!(rx.recv().now_or_never().is_none());
        drop(tx);
        assert!(rx.recv().await.is_none());
    }
}
