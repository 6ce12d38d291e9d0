//! One question for all: the containers of a folder on one node wait for the same answer.
//!
//! Invariant: who joins a question joins one that was asked of the same sequence, and nobody's question outlives those
//! who wait for it. It says nothing of a container that joined its folder after it was asked: that one asks for itself.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use super::{call_error::CallError, messages::SettleReply};

/// radar's answer.
type Answer = Result<SettleReply, CallError>;
type PendingAnswer = BoxFuture<'static, Answer>;

/// What is asked: a folder, a sequence of our index, and the errors that are known already.
pub(super) type Question = (String, i64, Vec<String>);

/// The questions that somebody waits for.
#[derive(Default)]
pub(super) struct SettleDedup(Mutex<HashMap<Question, WeakShared<PendingAnswer>>>);

impl std::fmt::Debug for SettleDedup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SettleDedup")
    }
}

impl SettleDedup {
    /// The answer to `question`, which `ask` asks unless it has been asked.
    pub(super) fn ask(
        &self,
        question: Question,
        ask: impl FnOnce() -> PendingAnswer,
    ) -> Shared<PendingAnswer> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, asked| asked.upgrade().is_some_and(|asked| asked.peek().is_none()));
        if let Some(asked) = all.get(&question).and_then(WeakShared::upgrade) {
            return asked;
        }
        let asked = ask().shared();
        all.extend(asked.downgrade().map(|weak| (question, weak)));
        asked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use futures::FutureExt;
    use tokio::sync::Notify;

    use super::SettleDedup;
    use crate::node::{SettleReply, StagesAgo};

    #[tokio::test]
    async fn those_who_wait_for_the_same_ask_once() {
        let (dedup, asked, answer) =
            (SettleDedup::default(), Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let ask = |sequence: i64| {
            let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
            dedup.ask(("f".to_owned(), sequence, Vec::new()), || {
                asked.fetch_add(1, Ordering::SeqCst);
                async move {
                    answer.notified().await;
                    Ok(SettleReply::Settled(StagesAgo::default()))
                }
                .boxed()
            })
        };
        let (one, two) = (ask(1), ask(1));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        answer.notify_one();
        let settled = |reply| matches!(reply, Ok(SettleReply::Settled(_)));
        assert!(settled(one.await) && settled(two.await));
        drop(ask(1));
        assert_eq!(asked.load(Ordering::SeqCst), 2, "what was answered is of the past");
        drop((ask(1), ask(2)));
        assert_eq!(asked.load(Ordering::SeqCst), 4, "nobody waited any more");
    }
}
