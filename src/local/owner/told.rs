//! What the system tells, and what is to be scanned for it.

use tokio::time::Instant;
use tracing::warn;

use super::Owner;
use crate::local::{
    folder::Local,
    notice::{Notice, Notices, may_be_synced},
};

/// Changes that are taken in at once, at most.
const AT_ONCE: usize = 4096;

impl Owner {
    /// Takes in what has been told by now.
    pub(super) fn hear(&mut self, notices: &mut Notices) {
        for _ in 0..AT_ONCE {
            let Ok((at, notice)) = notices.rx.try_recv() else { return };
            self.notice(at, notice);
        }
    }

    pub(super) fn notice(&mut self, at: Instant, notice: Notice) {
        match notice {
            Notice::Nameless => self.pass_over(),
            Notice::Conflict(copy) => {
                // The scan that this asks for comes after syncthing is through with the file.
                if let Some(of) = syncthing::conflict::copy(&copy) {
                    self.batch.add(of.original);
                    self.conflicts.insert(copy);
                }
            }
            Notice::Everything => self.batch.add_all(),
            Notice::Unwatched => {
                let news = |s: &mut Local| !std::mem::replace(&mut s.unwatched, true);
                if self.state_tx.send_if_modified(news) {
                    warn!("more directories than the system lets watch: everything is looked at every 10 s");
                    self.batch.add_all();
                }
            }
            Notice::Failed(reason) => {
                warn!(reason, "the local watch failed; scanning everything");
                self.batch.add_all();
            }
            told => {
                for path in self.gather.take(at, told) {
                    self.changed(at, path);
                }
            }
        }
    }

    /// Has a path scanned, unless syncthing passes it over.
    pub(super) fn changed(&mut self, at: Instant, path: String) {
        if !ksync_tree::is_composed(&path) {
            return self.pass_over();
        }
        self.patterns.notice(&path);
        if !may_be_synced(&self.path.join(&path)) {
            self.pass_over();
        }
        self.noticed.get_or_insert(at);
        self.batch.add(path);
    }

    /// Something changed that syncthing passes over: whoever names such entries looks again.
    fn pass_over(&self) {
        self.state_tx.send_modify(|s| s.passed_over += 1);
    }
}
