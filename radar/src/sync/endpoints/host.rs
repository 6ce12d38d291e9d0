//! What an endpoint's thread tells, and the guards that this goes through.
//!
//! Invariant: nothing that says that something is gone, and no listing, leaves before the container was found alive with the
//! directory in its place after the look; no job begins before the same.

use std::sync::Arc;

use ksync_endpoint::{Applied, Host, News, Output};
use ksync_merge::Outcome;
use ksync_wire::Reply;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc::error::TrySendError, oneshot},
};

use super::{checks::RootLost, opened::Opened, replies::Replies, table::Seat};

/// The mark after hints: its answer lets the next ones go in.
pub(super) const HINTED: u64 = u64::MAX;
/// A mark to have the directory looked after.
pub(super) const LOOK: u64 = u64::MAX - 1;
/// The mark after the last look, when the container has ended.
pub(super) const LAST: u64 = u64::MAX - 2;
/// News go out in pieces of about this size, so that few of them wait for a slow client.
const PIECE: usize = 64 << 10;

/// Why an endpoint has ended by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The container or its directory is gone.
    Root(RootLost),
    /// There is more in the directory than there is memory for.
    Full,
}

/// What the endpoint of an attachment works for.
pub(super) struct Telling {
    pub(super) opened: Arc<Opened>,
    pub(super) replies: Replies,
    /// What ended it. thread --lost--> channel
    pub(super) lost_tx: Option<oneshot::Sender<Lost>>,
    /// Told when the hints so far were looked at.
    pub(super) hinted: Arc<Notify>,
    /// Told after the last look.
    pub(super) looked: Arc<Notify>,
    /// Where a full stream is waited for.
    pub(super) runtime: Handle,
    /// Free when the thread ends.
    pub(super) _seat: Seat,
}

impl Host for Telling {
    fn tell(&mut self, output: Output) -> bool {
        if self.opened.stop.is_cancelled() {
            return false;
        }
        if self.opened.has_exited() {
            return self.tell_last(output);
        }
        match output {
            Output::News(news) => {
                let says_gone = news.iter().any(|news| news.state.is_none());
                if says_gone && !self.stands() {
                    return self.opened.has_exited() && self.tell_last(Output::News(news));
                }
                self.opened.told(&news);
                self.news(news)
            }
            // What was not listed counts as gone.
            Output::Listed => self.stands() && self.send(Reply::Listed),
            Output::Missed(count) => self.send(Reply::Missed(count)),
            Output::Applied(number, applied) => {
                self.opened.room.give_back(number);
                self.applied(number, applied)
            }
            Output::Held(file) => self.send(Reply::Held(file)),
            Output::Marked { number: HINTED, .. } => {
                self.hinted.notify_one();
                true
            }
            Output::Marked { number: LOOK, .. } => self.stands() || self.opened.has_exited(),
            Output::Marked { number: LAST, .. } => true,
            Output::Marked { number, digest, rounds } => {
                self.stands() && self.send(Reply::Marked { number, digest, rounds })
            }
            Output::Skipped(skipped) => self.send(Reply::Skipped(skipped)),
            Output::Full => {
                self.lose(Lost::Full);
                false
            }
        }
    }

    fn may_apply(&mut self) -> bool {
        !self.opened.stop.is_cancelled() && self.stands()
    }
}

impl Telling {
    /// The container has ended: what it wrote last is told. What is gone may be gone with it.
    fn tell_last(&mut self, output: Output) -> bool {
        match output {
            Output::News(mut news) => {
                news.retain(|news| news.state.is_some());
                self.opened.told(&news);
                self.opened.keep_last_files();
                self.news(news)
            }
            Output::Held(file) => self.send(Reply::Held(file)),
            Output::Marked { number: LAST, .. } => {
                self.looked.notify_one();
                true
            }
            _ => true,
        }
    }

    /// Whether the container lives and has the directory in its place; else this is the end.
    fn stands(&mut self) -> bool {
        let Err(lost) = self.opened.checks.check() else { return true };
        if lost == RootLost::Exited {
            self.opened.set_exited();
        }
        self.lose(Lost::Root(lost));
        false
    }

    fn lose(&mut self, lost: Lost) {
        if let Some(lost_tx) = self.lost_tx.take() {
            // The channel may be ending for another reason already.
            drop(lost_tx.send(lost));
        }
    }

    fn applied(&mut self, number: u64, applied: Applied) -> bool {
        let Applied { outcome, error, shell, held, .. } = applied;
        let says_gone = matches!(outcome, Outcome::Refused(None));
        (!says_gone || self.stands()) && self.send(Reply::Applied { number, outcome, error, shell, held })
    }

    fn news(&self, news: Vec<News>) -> bool {
        let (mut piece, mut size) = (Vec::new(), 0);
        for one in news {
            size += ksync_wire::size_of(&one);
            piece.push(one);
            if size >= PIECE {
                size = 0;
                if !self.send(Reply::News(std::mem::take(&mut piece))) {
                    return false;
                }
            }
        }
        piece.is_empty() || self.send(Reply::News(piece))
    }

    /// Waits while the client has not read what came before, unless this is to end.
    fn send(&self, reply: Reply) -> bool {
        let Replies { channel, replies_tx } = &self.replies;
        let reply = match replies_tx.try_send((*channel, reply)) {
            Ok(()) => return true,
            Err(TrySendError::Closed(_)) => return false,
            Err(TrySendError::Full(reply)) => reply,
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.opened.stop.cancelled() => false,
                sent = replies_tx.send(reply) => sent.is_ok(),
            }
        })
    }
}
