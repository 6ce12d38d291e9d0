//! Directories that were deleted by the client and hold, in the lead, what is left out: syncthing knows nothing of the
//! patterns and can't delete them.
//!
//! Invariant: only what may go with its directory is removed, and only from a directory that syncthing is to delete. What a
//! person has named stays, its directory with it, and that is no failure.

use std::sync::Arc;

use ksync_tree::{Rest, remove_junk, rest};
use syncthing::PullError;

use crate::{container::attachment::Attachment, sync::root_check::LeadRoot};
use ksync_common::chain;

/// Whether an error of a deletion is about what is in a directory: in syncthing's words (lib/model/folder_sendrecv.go), or in
/// the system's, where syncthing has taken what it found for the container's own.
fn is_of_content(error: &str) -> bool {
    let error = error.to_lowercase();
    ["directory has been deleted on a remote device but ", "directory not empty"]
        .iter()
        .any(|words| error.contains(words))
}

/// Has what may go with the directory at `path` removed, if that is what the `error` of its deletion is about. syncthing's
/// next try deletes the directory.
pub(super) fn clear(lead_root: &LeadRoot, folder: &str, path: &str, error: &str) {
    if !is_of_content(error) {
        return;
    }
    let (lead_root, folder, path) = (lead_root.clone(), folder.to_owned(), path.to_owned());
    tokio::spawn(async move {
        let lead = Arc::clone(&lead_root.lead);
        let removing = tokio::task::spawn_blocking(move || junk_of(&lead, &path));
        let junk = match removing.await {
            Ok(Ok(junk)) => junk,
            Ok(Err(error)) => {
                return tracing::warn!(folder, error = chain(&error), "clear a directory that is to go");
            }
            Err(error) => return tracing::error!(folder, %error, "clear a directory that is to go"),
        };
        // syncthing may have looked at it just before: what it took for files is gone. The directory itself is not scanned:
        // its new ctime would win over its deletion.
        if !junk.is_empty()
            && lead_root.check().await.is_ok()
            && let Err(error) = lead_root.syncthing.client.scan(&folder, &junk).await
        {
            tracing::warn!(folder, error = chain(&error), "scan what went with its directory");
        }
    });
}

fn junk_of(lead: &Attachment, path: &str) -> Result<Vec<String>, ksync_tree::Error> {
    match rest(&lead.root, path, &lead.ignore(), &lead.mounts()) {
        Ok(Rest::Junk(junk)) => remove_junk(&lead.root, &junk).map(|()| junk),
        Ok(Rest::LeftOut | Rest::Synced) => Ok(Vec::new()),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_of_deletion(failed: &PullError) -> bool {
    failed.error.contains("delete dir: ") && is_of_content(&failed.error)
}

/// Those of `failed` that are failures: not a directory that stays for what a person leaves out of it.
pub(super) async fn failures(lead: &Arc<Attachment>, failed: Vec<PullError>) -> Vec<PullError> {
    if !failed.iter().any(is_of_deletion) {
        return failed;
    }
    let (lead, all) = (Arc::clone(lead), failed.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let (ignore, mounts) = (lead.ignore(), lead.mounts());
        let stays = |failed: &PullError| {
            is_of_deletion(failed)
                && matches!(rest(&lead.root, &failed.path, &ignore, &mounts), Ok(Rest::LeftOut))
        };
        all.into_iter().filter(|failed| !stays(failed)).collect()
    });
    looking.await.unwrap_or_else(|error| {
        tracing::error!(%error, "look why directories stay");
        failed
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use ksync_tree::Ignore;
    use syncthing::PullError;
    use tokio::sync::mpsc;

    use super::{clear, failures};
    use crate::{
        container::attachment::fake::attached, guards::off, supervisor::node_syncthing::fake::node_syncthing,
        sync::root_check::LeadRoot,
    };

    const CONTENT: &str = "directory has been deleted on a remote device but ";

    #[tokio::test]
    async fn what_may_go_goes_and_is_scanned_without_its_directory() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let Some(lead) = attached("l", dirs[0].path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let _no_view = off::all_but(&[]);
        for path in ["pkg/__pycache__", "kept/__pycache__"] {
            fs::create_dir_all(dirs[0].path().join(path)).unwrap();
            fs::write(dirs[0].path().join(path).join("m.pyc"), "").unwrap();
        }
        fs::write(dirs[0].path().join("kept/new.py"), "").unwrap();
        let (scan_tx, mut scan_rx) = mpsc::unbounded_channel();
        let scan_tx = Mutex::new(scan_tx);
        let syncthing = node_syncthing(
            dirs[1].path(),
            Arc::new(move |call| {
                scan_tx.lock().unwrap().send(call.to_owned()).unwrap();
                Some(String::new())
            }),
        );
        let lead_root = LeadRoot { lead, syncthing, mount_point: dirs[1].path().to_owned() };
        clear(&lead_root, "f", "other", "permission denied");
        clear(&lead_root, "f", "kept", &format!("{CONTENT}contains changed files, scheduling scan"));
        clear(&lead_root, "f", "pkg", &format!("{CONTENT}contains changed files, scheduling scan"));
        let scan = tokio::time::timeout(Duration::from_secs(10), scan_rx.recv()).await.unwrap().unwrap();
        assert_eq!(scan.trim(), "POST db/scan?folder=f&sub=pkg%2F__pycache__");
        assert!(!dirs[0].path().join("pkg/__pycache__").exists());
        assert!(dirs[0].path().join("kept/__pycache__/m.pyc").exists(), "beside something new nothing goes");
    }

    #[tokio::test]
    async fn a_directory_that_stays_for_a_persons_pattern_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let Some(lead) = attached("l", dir.path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        lead.set_ignore(Arc::new(Ignore::with_defaults(&["*.log".to_owned()]).unwrap()));
        for path in ["stays/deep", "fails"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for path in ["stays/deep/x.log", "fails/new.py"] {
            fs::write(dir.path().join(path), "").unwrap();
        }
        let failed = |path: &str, error: &str| PullError { path: path.to_owned(), error: error.to_owned() };
        let content = format!("syncing: delete dir: {CONTENT}is not empty");
        let all = vec![
            failed("stays", &content),
            failed("stays/deep", &content),
            failed("fails", &content),
            failed("stays", "syncing: delete dir: remove /sync/f/stays: directory not empty"),
            failed("stays", "permission denied"),
        ];
        let left: Vec<String> = failures(&lead, all).await.into_iter().map(|failed| failed.path).collect();
        assert_eq!(left, ["fails", "stays"]);
    }
}
