//! Which one of a local folder's containers is two-way.
//!
//! Never more than one at a time: else one replica's pid file becomes the next one's change, for ever. Whoever had the
//! seat has it again after an interruption: what it wrote meanwhile is still to come here.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// How long a free seat waits for the one who had it, whose writes are still to come here: kubelet may take as long to start
/// radar again.
const PATIENCE: Duration = Duration::from_secs(60);

/// One seat, taken by whoever is ready first and free again when it goes.
#[derive(Debug)]
pub(crate) struct Election(watch::Sender<State>);

#[derive(Debug)]
struct State {
    holder: Option<String>,
    /// The container that had the seat last.
    last: Option<String>,
    /// When the seat became free.
    free_since: Instant,
    /// All containers that may take the seat, ready or not: by how many specs, as several may mean one container.
    registered: BTreeMap<String, usize>,
}

impl Default for Election {
    fn default() -> Self {
        let state =
            State { holder: None, last: None, free_since: Instant::now(), registered: BTreeMap::new() };
        Self(watch::Sender::new(state))
    }
}

impl State {
    /// Until when `container` leaves a free seat to the one who had it; none when it need not.
    fn patient_until(&self, container: &str) -> Option<Instant> {
        let last =
            self.last.as_ref().filter(|last| *last != container && self.registered.contains_key(*last));
        last.map(|_| self.free_since + PATIENCE).filter(|until| Instant::now() < *until)
    }
}

impl Election {
    /// Follows the seat: whoever waits for it to be taken is woken.
    pub(crate) fn watch(&self) -> SeatWatch {
        SeatWatch(self.0.subscribe())
    }

    /// What was noted of an earlier time: who had the seat then. Counts as long as nobody has had it since.
    pub(crate) fn remember(&self, container: &str) {
        self.0.send_if_modified(|state| {
            let news = state.holder.is_none() && state.last.is_none();
            if news {
                state.last = Some(container.to_owned());
            }
            news
        });
    }

    /// `container` (its id) is there, and may come to be ready.
    pub(crate) fn register(&self, container: &str) -> Registration {
        self.0.send_modify(|state| *state.registered.entry(container.to_owned()).or_default() += 1);
        Registration { container: container.to_owned(), state: self.0.clone() }
    }

    /// Waits until the seat is free and takes it for `container`.
    pub(crate) async fn seat(&self, container: &str) -> Seat {
        let mut state = self.0.subscribe();
        loop {
            let taken = self.0.send_if_modified(|state| {
                let free = state.holder.is_none() && state.patient_until(container).is_none();
                if free {
                    state.holder = Some(container.to_owned());
                    state.last.clone_from(&state.holder);
                }
                free
            });
            if taken {
                return Seat(self.0.clone());
            }
            let until = {
                let state = state.borrow_and_update();
                state.holder.is_none().then(|| state.patient_until(container)).flatten()
            };
            change(&mut state, until).await;
        }
    }
}

/// Waits for a change, at most until then. The sender lives as long as who waits, so there is no end without one.
async fn change(state: &mut watch::Receiver<State>, until: Option<Instant>) {
    match until {
        Some(until) => drop(timeout_at(until, state.changed()).await),
        None => drop(state.changed().await),
    }
}

/// Tells whether the seat is taken.
#[derive(Debug)]
pub(crate) struct SeatWatch(watch::Receiver<State>);

impl SeatWatch {
    /// Whether somebody has it now.
    pub(crate) fn is_taken(&mut self) -> bool {
        self.0.borrow_and_update().holder.is_some()
    }

    /// Waits for a change.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A container is there as long as this lives.
#[derive(Debug)]
pub(crate) struct Registration {
    container: String,
    state: watch::Sender<State>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.state.send_modify(|state| {
            if let Some(count) = state.registered.get_mut(&self.container) {
                *count -= 1;
                if *count == 0 {
                    state.registered.remove(&self.container);
                }
            }
        });
    }
}

/// Held by the two-way container; dropping it lets the next one have it.
#[derive(Debug)]
pub(crate) struct Seat(watch::Sender<State>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.send_modify(|state| {
            state.holder = None;
            state.free_since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::{FutureExt, future::BoxFuture};
    use proptest::prelude::*;

    use tokio::time::advance;

    use super::{Election, PATIENCE, Seat};

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Wants(u8),
        Gives(u8),
    }

    proptest! {
        /// Whatever comes and goes in whatever order: never two, and nobody waits for a seat that is free.
        #[test]
        fn one_seat_and_never_an_empty_one(
            steps in prop::collection::vec(
                prop_oneof![(0_u8..4).prop_map(Step::Wants), (0_u8..4).prop_map(Step::Gives)], 0..40),
        ) {
            let election = Election::default();
            let mut waiting: BTreeMap<u8, BoxFuture<'_, Seat>> = BTreeMap::new();
            let mut seated: BTreeMap<u8, Seat> = BTreeMap::new();
            let names = ["a", "b", "c", "d"];
            for step in steps {
                match step {
                    Step::Wants(container) if !seated.contains_key(&container) => {
                        let name = names[usize::from(container)];
                        waiting.entry(container).or_insert_with(|| Box::pin(election.seat(name)));
                    }
                    Step::Wants(_) => {}
                    // Whoever gives up waits no more either.
                    Step::Gives(container) => {
                        waiting.remove(&container);
                        seated.remove(&container);
                    }
                }
                let ready = |(container, seat): (&u8, &mut BoxFuture<'_, Seat>)| Some((*container, seat.now_or_never()?));
                let taken: Vec<(u8, Seat)> = waiting.iter_mut().filter_map(ready).collect();
                for (container, seat) in taken {
                    waiting.remove(&container);
                    seated.insert(container, seat);
                }
                prop_assert!(seated.len() <= 1, "{:?}", seated);
                prop_assert!(waiting.is_empty() || seated.len() == 1, "the seat is free, and somebody waits");
                prop_assert_eq!(election.watch().is_taken(), !seated.is_empty());
            }
        }
    }

    #[tokio::test]
    async fn one_at_a_time_and_the_next_one_follows() {
        let election = Election::default();
        let first = election.seat("a").await;
        let mut second = std::pin::pin!(election.seat("b"));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let _second = second.await;
        assert!(election.seat("c").now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_had_it_has_it_again_unless_it_is_gone_or_late() {
        let election = Election::default();
        let (a, b) = (election.register("a"), election.register("b"));
        election.remember("a");
        let mut other = Box::pin(election.seat("b"));
        assert!(other.as_mut().now_or_never().is_none(), "a is registered");
        let again = election.seat("a").await;
        drop(again);
        assert!(other.as_mut().now_or_never().is_none());
        advance(PATIENCE).await;
        drop(other.await);
        // Now b is the one who had it; a is not there any more.
        election.remember("a");
        let again = Box::pin(election.seat("a"));
        drop(a);
        assert!(again.now_or_never().is_none(), "b is registered");
        drop(election.seat("b").await);
        drop(b);
        assert!(election.seat("c").now_or_never().is_some(), "nobody is waited for who is gone");
    }
}
