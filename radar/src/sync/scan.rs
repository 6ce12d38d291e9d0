//! From changes in a container's directory to scans of its folder.
//!
//! Invariant: nothing is scanned before the root was checked. The first change is scanned at once, what comes
//! during a scan goes together after it. A scan that failed is repeated, so no change is forgotten; one that is refused time
//! and again is not repeated as it was, but becomes a scan of everything.
//!
//! A directory that syncthing knows as it is (it made it itself, mostly) is not scanned, only what is in it: each name that
//! comes or goes gives it another ctime, which a scan takes for the container's change, and that wins over its deletion on
//! the other side.

use std::{collections::BTreeSet, time::Duration};

use ksync_tree::{Kind, stat_entry};
use syncthing::Batch;
use tokio::sync::{mpsc::Receiver, oneshot};

use crate::{
    container::{attachment::Attachment, watch::Change},
    sync::root_check::{LeadRoot, RootLost},
};
use ksync_common::Backoff;

/// Refusals in a row of one scan after which everything is scanned instead: something in it is not taken.
const REFUSALS: u32 = 4;

/// Scans `folder` for each of `changes` until they end, or the root is lost, which `lost_tx` is told.
pub(crate) async fn run(
    lead_root: LeadRoot,
    folder: String,
    mut changes: Receiver<Change>,
    lost_tx: oneshot::Sender<RootLost>,
) {
    let mut batch = Batch::fine();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut refusals = 0;
    loop {
        let first = if batch.is_empty() {
            match changes.recv().await {
                Some(change) => Some(change),
                None => return,
            }
        } else {
            None
        };
        let (mut heard, mut directories) = (Ok(()), BTreeSet::new());
        for change in first.into_iter().chain(std::iter::from_fn(|| changes.try_recv().ok())) {
            heard = heard.and_then(|()| note(&mut batch, &mut directories, change, &lead_root.lead, &folder));
        }
        for path in directories {
            if !is_known(&lead_root, &folder, &path).await {
                batch.add(path);
            }
        }
        let looked = match heard {
            // All that came was ignored.
            Ok(()) if batch.is_empty() => continue,
            Ok(()) => lead_root.check().await,
            Err(lost) => Err(lost),
        };
        if let Err(lost) = looked {
            // The folder may be ending for another reason already.
            drop(lost_tx.send(lost));
            return;
        }
        let subs = batch.take();
        match lead_root.syncthing.client.scan(&folder, &subs).await {
            Ok(()) => {
                backoff.reset();
                refusals = 0;
            }
            Err(error) => {
                tracing::warn!(folder, error = &error as &dyn std::error::Error, "scan");
                refusals = if error.is_connection() { 0 } else { refusals + 1 };
                if subs.is_empty() || refusals >= REFUSALS {
                    batch.add_all();
                }
                for sub in subs {
                    batch.add(sub);
                }
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
}

/// Whether syncthing knows the directory at `path` as it is.
async fn is_known(lead_root: &LeadRoot, folder: &str, path: &str) -> bool {
    let Ok(Some(entry)) = stat_entry(&lead_root.lead.root, path, false) else { return false };
    if entry.kind != Kind::Dir {
        return false;
    }
    let known = lead_root.syncthing.client.knows_directory(folder, path, entry.mode).await;
    known.unwrap_or_else(|error| {
        tracing::warn!(
            folder,
            path,
            error = &error as &dyn std::error::Error,
            "ask what is known of a directory"
        );
        false
    })
}

/// Adds a change to those that wait, or to the directories to ask about, unless it is of no interest; tells if nothing more
/// will be heard.
fn note(
    batch: &mut Batch,
    directories: &mut BTreeSet<String>,
    change: Change,
    lead: &Attachment,
    folder: &str,
) -> Result<(), RootLost> {
    match change {
        Change::Path(path) | Change::Directory(path) if lead.is_idle_at(&path) => {}
        Change::Path(path) => batch.add(path),
        Change::Directory(path) => drop(directories.insert(path)),
        Change::All => batch.add_all(),
        Change::Broken(reason) => return Err(RootLost::Changed(reason)),
        Change::Limited => {
            tracing::warn!(
                folder,
                "more directories than its share of fs.inotify.max_user_watches: all is scanned every 10 s"
            );
            batch.add_all();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use ksync_tree::Ignore;
    use syncthing::Batch;
    use tokio::sync::{mpsc, oneshot};

    use super::{RootLost, note, run};
    use crate::{
        container::{attachment::fake::attached, watch::Change},
        guards::off,
        supervisor::node_syncthing::fake::node_syncthing,
        sync::root_check::LeadRoot,
    };

    #[tokio::test]
    async fn a_scan_that_is_refused_time_and_again_becomes_one_of_everything() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let Some(lead) = attached("l", dirs[0].path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let _no_view = off::all_but(&[]);
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (whole_tx, mut whole_rx) = mpsc::unbounded_channel();
        let said = Arc::clone(&calls);
        let syncthing = node_syncthing(
            dirs[1].path(),
            Arc::new(move |call| {
                said.lock().unwrap().push(call.to_owned());
                if call.contains("&sub=") {
                    return None;
                }
                whole_tx.send(()).unwrap();
                Some(String::new())
            }),
        );
        let lead_root = LeadRoot { lead, syncthing, mount_point: dirs[1].path().to_owned() };
        let (changes_tx, changes_rx) = mpsc::channel(1);
        let (lost_tx, _lost_rx) = oneshot::channel();
        let scans = tokio::spawn(run(lead_root, "f".to_owned(), changes_rx, lost_tx));
        changes_tx.send(Change::Path("odd".to_owned())).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), whole_rx.recv()).await.unwrap().unwrap();
        drop(changes_tx);
        scans.await.unwrap();
        let calls = calls.lock().unwrap();
        assert_eq!(calls.len(), 5, "{calls:?}");
    }

    #[tokio::test]
    async fn what_is_ignored_is_not_scanned_and_deafness_is_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let Some(lead) = attached("l", dir.path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let mut batch = Batch::default();
        let mut hear = |path: &str| {
            note(&mut batch, &mut BTreeSet::new(), Change::Path(path.into()), &lead, "f").unwrap();
            batch.take()
        };
        assert!(hear(".git/index.lock").is_empty());
        assert_eq!(hear("a.git"), ["a.git"]);
        // Something below an ignored directory is wanted.
        lead.set_ignore(Arc::new(Ignore::with_defaults(&["!/.git/keep".to_owned()]).unwrap()));
        assert_eq!(hear(".git"), [".git"]);
        let broken = note(&mut batch, &mut BTreeSet::new(), Change::Broken("deaf".into()), &lead, "f");
        assert_eq!(broken, Err(RootLost::Changed("deaf".into())));
    }
}
