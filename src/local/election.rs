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
    use futures::FutureExt;

    use super::Election;

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
