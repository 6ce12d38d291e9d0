//! Which one of a local folder's containers is two-way.
//!
//! Never more than one at a time: else one replica's pid file becomes the next one's change, for ever.

use tokio::sync::watch;

/// One seat, taken by whoever is ready first and free again when it goes.
#[derive(Debug)]
pub struct Election(watch::Sender<Option<String>>);

impl Default for Election {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Election {
    /// Follows the seat: whoever waits for it to be taken is woken.
    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }

    /// Waits until the seat is free and takes it for `who` (a container id).
    pub async fn seat(&self, who: &str) -> Seat {
        let mut holder = self.0.subscribe();
        loop {
            let taken = self.0.send_if_modified(|seat| match seat {
                Some(_) => false,
                None => seat.replace(who.to_owned()).is_none(),
            });
            if taken {
                return Seat(self.0.clone());
            }
            // The sender is in `self`, so this ends with a change.
            let _ = holder.changed().await;
        }
    }
}

/// Held by the two-way container; dropping it lets the next one have it.
#[derive(Debug)]
pub struct Seat(watch::Sender<Option<String>>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::{FutureExt, future::BoxFuture};
    use proptest::prelude::*;

    use super::{Election, Seat};

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
                    Step::Wants(who) if !seated.contains_key(&who) => {
                        let name = names[usize::from(who)];
                        waiting.entry(who).or_insert_with(|| Box::pin(election.seat(name)));
                    }
                    Step::Wants(_) => {}
                    // Whoever gives up waits no more either.
                    Step::Gives(who) => {
                        waiting.remove(&who);
                        seated.remove(&who);
                    }
                }
                let ready = |(who, seat): (&u8, &mut BoxFuture<'_, Seat>)| Some((*who, seat.now_or_never()?));
                let taken: Vec<(u8, Seat)> = waiting.iter_mut().filter_map(ready).collect();
                for (who, seat) in taken {
                    waiting.remove(&who);
                    seated.insert(who, seat);
                }
                prop_assert!(seated.len() <= 1, "{:?}", seated);
                prop_assert!(waiting.is_empty() || seated.len() == 1, "the seat is free, and somebody waits");
                let shown = election.watch().borrow().clone();
                prop_assert_eq!(shown.as_deref(), seated.keys().next().map(|who| names[usize::from(*who)]));
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
}
