//! What was taken out of a local folder on a container's word: `kept/<folder>/<kind>/<moment>/<path>`.
//!
//! Kept for a week and within a size, the oldest goes first. Nothing here touches a user's directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use tracing::{info, warn};

/// How long things are kept.
const AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much is kept at most, in bytes, for all folders together.
const SIZE: u64 = 1 << 30;
/// The kinds that are kept by moments; syncthing looks after its own (`replaced`).
const KINDS: [&str; 3] = ["deleted", "conflicts", "replaced-at-attach"];

/// A name for what was moved away at one moment, which sorts by time and is never given twice.
pub fn stamp() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) % 1_000_000;
    format!("{}-{number:06}", moment(Timestamp::now()))
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%S%3fZ").to_string()
}

/// Removes what is too old or too much below `kept`.
pub fn sweep(kept: &Path) {
    let oldest = Timestamp::now().checked_sub(AGE).map(moment);
    match oldest.map_err(io::Error::other).and_then(|oldest| sweep_to(kept, &oldest, SIZE)) {
        Ok(0) => {}
        Ok(gone) => info!(gone, "removed what was kept for a week, or beyond the limit"),
        Err(error) => warn!(%error, path = %kept.display(), "sweep what is kept"),
    }
}

fn sweep_to(kept: &Path, oldest: &str, limit: u64) -> io::Result<usize> {
    let mut moments = Vec::new();
    for folder in children(kept)? {
        for kind in KINDS {
            moments.extend(children(&folder.join(kind))?);
        }
    }
    // Newest first: names sort by time, whatever folder they are in.
    moments.sort_by(|a, b| b.file_name().cmp(&a.file_name()));
    let (mut total, mut gone) = (0_u64, 0);
    for path in moments {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        total = total.saturating_add(size(&path)?);
        if name.as_str() < oldest || total > limit {
            fs::remove_dir_all(&path)?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// The directories in a directory; none when it does not exist.
fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Bytes of the files below; symlinks are not followed.
fn size(dir: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        total += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{stamp, sweep_to};

    #[test]
    fn the_old_and_the_too_much_go_and_the_newest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, bytes: usize| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![b'x'; bytes]).unwrap();
        };
        put("f/deleted/20260101T000000000Z-1/a/b", 1);
        put("f/conflicts/20260201T000000000Z-1/big", 80);
        put("g/deleted/20260202T000000000Z-1/c", 30);
        put("f/replaced/syncthings~own", 500);
        assert_eq!(sweep_to(dir.path(), "20260115", 1000).unwrap(), 1);
        assert!(!dir.path().join("f/deleted/20260101T000000000Z-1").exists());
        assert_eq!(sweep_to(dir.path(), "20260115", 100).unwrap(), 1);
        assert!(!dir.path().join("f/conflicts/20260201T000000000Z-1").exists());
        assert!(dir.path().join("g/deleted/20260202T000000000Z-1/c").exists());
        assert!(dir.path().join("f/replaced/syncthings~own").exists());
        assert_eq!(sweep_to(&dir.path().join("none"), "2", 0).unwrap(), 0);
    }

    #[test]
    fn no_two_moments_share_a_name() {
        assert_ne!(stamp(), stamp());
    }
}
