//! Files that the node's syncthing could not write in the lead: a sentence for each, and the removal of unfinished ones.
//!
//! Invariant: a file that finds no room takes none from the others. One that is too large is refused before a byte of
//! it is written ([`min_disk_free`]); what two have filled together is given back ([`remove_unfinished`]).

use std::{sync::Arc, time::Duration};

use ksync_tree::{Removed, Root, remove_entry, sweep_unfinished};
use rustix::fs::fstatvfs;
use syncthing::{MinDiskFree, PullError};

use crate::container::attachment::Attachment;
use ksync_common::chain;

/// Whether an error of syncthing's is a want of room.
fn is_room(error: &str) -> bool {
    let error = error.to_lowercase();
    ["no space left on device", "insufficient space", "disk quota exceeded"]
        .iter()
        .any(|words| error.contains(words))
}

/// One sentence for what could not be pulled.
pub(super) fn sentence(failed: &PullError) -> String {
    let why = if is_room(&failed.error) { "no space left on device in the container" } else { &failed.error };
    format!("`{}`: {why}", failed.path)
}

/// The free space below which syncthing pulls nothing. With none at all it does not look whether a file fits, and
/// fills the volume with the beginning of one that does not.
pub(super) fn min_disk_free(root: &Root) -> MinDiskFree {
    // There are file systems that don't tell their size: to them everything fits.
    let tells = fstatvfs(root).is_ok_and(|stat| stat.f_blocks > 0);
    MinDiskFree { value: if tells { 1.0 } else { 0.0 }, unit: "kB".to_owned() }
}

/// Removes what syncthing keeps of a file that found no room, to go on from there: it would hold up all others.
pub(super) fn remove_unfinished(lead: &Arc<Attachment>, path: &str, error: &str) {
    let Some(temp) = is_room(error).then(|| temp_name(path)) else { return };
    let lead = Arc::clone(lead);
    // If syncthing is at it again already, its next try begins anew.
    tokio::task::spawn_blocking(move || match remove_entry(&lead.root, &temp) {
        Ok(Removed::Missing) => {}
        Ok(_) => tracing::info!(temp, "no room: what was written of it is given back"),
        Err(error) => tracing::warn!(temp, error = chain(&error), "give back what was written of a file"),
    });
}

/// Removes what pulls that were cut off have left, before syncthing has the folder and when it has it no more: nobody goes
/// on with it, because every folder begins with an empty database.
pub(super) async fn sweep(lead: &Arc<Attachment>) {
    let (lead, id) = (Arc::clone(lead), lead.id.clone());
    let sweeping = move || sweep_unfinished(&lead.root, &lead.about.excluded(), Duration::ZERO);
    match tokio::task::spawn_blocking(sweeping).await {
        Ok(Ok(0)) => {}
        Ok(Ok(files)) => tracing::info!(attachment = id, files, "removed unfinished files"),
        Ok(Err(error)) => {
            tracing::warn!(attachment = id, error = chain(&error), "remove unfinished files");
        }
        Err(error) => tracing::error!(attachment = id, %error, "remove unfinished files"),
    }
}

/// syncthing's name for an unfinished file. Very long names have another one, which is left to syncthing.
fn temp_name(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((dir, name)) => format!("{dir}/.syncthing.{name}.tmp"),
        None => format!(".syncthing.{path}.tmp"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ksync_tree::Root;
    use syncthing::PullError;

    use super::{min_disk_free, remove_unfinished, sentence};
    use crate::container::attachment::fake::attached;

    #[test]
    fn a_want_of_room_is_told_in_one_way() {
        let told = |error: &str| sentence(&PullError { path: "d/big".into(), error: error.into() });
        for error in [
            "syncing: dst write: write /sync/f/.syncthing.big.tmp: no space left on device",
            "syncing: insufficient space in folder \"f\" (/sync/f): 1 MiB < 3 MiB",
        ] {
            assert_eq!(told(error), "`d/big`: no space left on device in the container");
        }
        assert_eq!(told("permission denied"), "`d/big`: permission denied");
    }

    #[test]
    fn only_where_the_size_is_told_is_room_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let free = |path: &std::path::Path| min_disk_free(&Root::open(path).unwrap());
        assert!(free(dir.path()).value > 0.0);
        assert!(free("/proc".as_ref()).value <= 0.0);
    }

    #[tokio::test]
    async fn what_was_begun_of_a_file_without_room_goes() {
        let dir = tempfile::tempdir().unwrap();
        let Some(lead) = attached("l", dir.path()).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        fs::create_dir(dir.path().join("d")).unwrap();
        let (temp, other) = (dir.path().join("d/.syncthing.big.tmp"), dir.path().join("d/.syncthing.x.tmp"));
        fs::write(&temp, "begun").unwrap();
        fs::write(&other, "begun").unwrap();
        remove_unfinished(&lead, "d/x", "connection closed");
        remove_unfinished(&lead, "d/big", "no space left on device");
        tokio::time::timeout(std::time::Duration::from_secs(5), async {
            while temp.exists() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert!(other.exists(), "what only waits for its connection goes on where it was");
    }
}
