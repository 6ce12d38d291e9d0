//! What containers did to the folder: their deletions, applied, held or taken back, and conflicts.

use std::sync::Arc;

use tracing::{info, warn};

use super::Owner;
use crate::{
    blocking, kept,
    local::{Closed, Holds, Running, Who, conflict, deletion},
};

impl Owner {
    /// A container deleted `path`. One whose deletions wait for a person has one more that does.
    pub(super) fn deleted(&mut self, path: String, who: Arc<Who>) {
        let waits = self.state_tx.borrow().holds.of(&who.container).is_some();
        if !waits {
            return self.agreed.add(path, who);
        }
        let here = || ksync_tree::stat_entry(&ksync_tree::Root::open(&self.path).ok()?, &path, false).ok()?;
        self.change_holds(|holds| holds.add(&who.container, here));
    }

    /// Changes what waits, and keeps it when `change` says that it did.
    pub(super) fn change_holds(&self, change: impl FnOnce(&mut Holds) -> bool) {
        let mut holds = self.state_tx.borrow().holds.clone();
        if !change(&mut holds) {
            return;
        }
        self.keep_waiting(&holds);
        self.state_tx.send_modify(|s| s.holds = holds);
    }

    fn keep_waiting(&self, holds: &Holds) {
        if let Err(error) = self.hold_file.save(holds, &self.owed) {
            warn!(%error, "keep what waits; it is forgotten with this watcher");
        }
    }

    /// Puts back what was taken out and waits now: while a person is asked, nothing is missing here.
    pub(super) async fn give_back(&mut self) {
        if self.owed.is_empty() || self.ground.check().is_err() {
            return;
        }
        match deletion::give_back(&self.path, &self.kept, &self.owed).await {
            Ok(paths) => {
                info!(paths = paths.len(), "what was taken out and waits now is back");
                self.made_for_them(&paths);
                for path in paths {
                    self.batch.add(path);
                }
                self.owed.clear();
                self.keep_waiting(&self.state_tx.borrow().holds);
            }
            Err(error) => {
                warn!(error = ksync_common::chain(&error), "put back; it is still kept, and tried again");
            }
        }
    }

    /// A person's word on what waits. Returns the number of files.
    pub(super) async fn answer(&mut self, accept: bool) -> Result<usize, Closed> {
        let holds = self.state_tx.borrow().holds.clone();
        let mut files = 0;
        for hold in holds.iter() {
            files += if accept {
                self.ground.check().map_err(|reason| Closed::new(&reason))?;
                let applied = deletion::apply_hold(&self.path, &self.kept, hold).await;
                let gone = applied.map_err(|error| Closed::new(&ksync_common::chain(&error)))?;
                self.made_for_them(&gone);
                let count = hold.files_of(&gone);
                for path in gone {
                    self.batch.add(path);
                }
                count
            } else {
                hold.files()
            };
            info!(accept, container = hold.who.container, files = hold.files(), "deletions are answered");
            self.change_holds(|holds| holds.retain(|other| other.who != hold.who));
        }
        Ok(files)
    }

    pub(super) async fn delete(&mut self, running: Option<&Running>) {
        let Some(running) = running else { return };
        // While a burst of deletions goes on, nothing of it is applied.
        let wait = self.agreed.is_empty() || self.agreed.due().is_some();
        if wait || self.ground.check().is_err() || self.state_tx.borrow().error.is_some() {
            return;
        }
        let folder =
            deletion::Place { client: &running.client, id: &self.id, path: &self.path, kept: &self.kept };
        match deletion::apply(&folder, &mut self.agreed).await {
            Ok(outcome) => {
                self.trim_kept(kept::Kind::Deleted, outcome.removed.clone());
                self.made_for_them(&outcome.removed);
                outcome.removed.into_iter().for_each(|path| self.batch.add(path));
                self.owed.extend(outcome.owed);
                for hold in outcome.held {
                    warn!(reason = hold.reason(), "deletions wait for an answer");
                    self.change_holds(|holds| {
                        holds.merge(hold);
                        true
                    });
                }
            }
            Err(error) => warn!(error = ksync_common::chain(&error), "apply a container's deletion"),
        }
    }

    /// Beside what comes next: one more of each of `paths` was kept.
    fn trim_kept(&self, kind: kept::Kind, paths: Vec<String>) {
        let folder = self.kept.clone();
        tokio::task::spawn_blocking(move || kept::trim(&folder, kind, &paths));
    }

    /// Puts local content back where syncthing let a container's win.
    pub(super) async fn settle_conflicts(&mut self, running: Option<&Running>) {
        // One that was made in a container is the container's content, as its folder's `conflicts` have it.
        let own = running.map(|running| running.device_id.as_str()).unwrap_or_default();
        self.conflicts.retain(|copy| syncthing::conflict::copy(copy).is_some_and(|copy| !copy.lost_to(own)));
        if self.conflicts.is_empty() || self.ground.check().is_err() {
            return;
        }
        let (copies, at) = (std::mem::take(&mut self.conflicts), self.path.clone());
        let kept = kept::Kind::Conflict.moment(&self.kept);
        let (settled, failed) = blocking::run(move || conflict::settle_all(&at, &kept, copies)).await;
        self.trim_kept(kept::Kind::Conflict, settled.clone());
        self.made_for_them(&settled);
        for path in &settled {
            info!(path, "both sides changed it: the local content stays, the container's is kept");
            self.batch.add(path);
        }
        if let Some(error) = failed {
            warn!(error = ksync_common::chain(&error), "settle a conflict");
        }
    }
}
