//! Keeping what is kept within its limits, so that a log that changes all the time does not fill a disk.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use tracing::{info, warn};

use super::{Item, Kind, children, list, moment_of};

/// How long things are kept.
const AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much is kept at most, in bytes, for all folders together.
const SIZE: u64 = 1 << 30;
/// A moment without files that is older than this is nobody's work any more.
const EMPTY: Duration = Duration::from_secs(3600);

/// Removes what is too old or too much below `kept`.
pub(crate) fn sweep(kept: &Path) {
    match sweep_at(kept, Timestamp::now(), SIZE) {
        Ok(0) => {}
        Ok(gone) => info!(gone, "removed what was kept for a week, or beyond the limits"),
        Err(error) => warn!(%error, path = %kept.display(), "sweep what is kept"),
    }
}

fn sweep_at(kept: &Path, now: Timestamp, limit: u64) -> io::Result<usize> {
    let folders = list(kept)?;
    let items =
        folders.iter().flat_map(|folder| folder.items.iter().map(|item| (folder.dir.as_path(), item)));
    let mut gone = 0;
    for place in surplus(items.collect(), now, limit) {
        match fs::remove_file(&place) {
            Ok(()) => gone += 1,
            // Somebody has it restored meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for folder in &folders {
        for kind in Kind::ALL {
            for moment in children(&folder.dir.join(kind.dir()))? {
                remove_empty(&moment, now)?;
            }
        }
    }
    Ok(gone)
}

/// The places of what must go: what is too old, what has enough newer ones of its path and kind, and of the rest the
/// oldest, until it is no more than `limit` bytes. The newest of all stays: a person has had it kept, or had it.
fn surplus(mut items: Vec<(&Path, &Item)>, now: Timestamp, limit: u64) -> Vec<PathBuf> {
    items.sort_by_key(|(_, item)| std::cmp::Reverse(item.at));
    let mut copies: BTreeMap<(&Path, &str, &str), (usize, u64)> = BTreeMap::new();
    let (mut total, mut gone) = (0_u64, Vec::new());
    for (folder, item) in items {
        let (newer, bytes) = copies.entry((folder, item.kind.word(), &item.path)).or_default();
        let after = total.saturating_add(item.room);
        if item.kind.is_surplus(*newer, bytes.saturating_add(item.room))
            || older(item.at, now, AGE)
            || after > limit && total > 0
        {
            gone.push(item.place.clone());
            continue;
        }
        *newer += 1;
        *bytes += item.room;
        total = after;
    }
    gone
}

fn older(at: Timestamp, now: Timestamp, than: Duration) -> bool {
    now.duration_since(at) > jiff::SignedDuration::try_from(than).unwrap_or(jiff::SignedDuration::MAX)
}

/// Removes a moment that holds nothing any more, or only what never came to its place.
fn remove_empty(moment: &Path, now: Timestamp) -> io::Result<()> {
    let name = moment.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(at) = moment_of(&name) else { return Ok(()) };
    let over = older(at, now, AGE) || older(at, now, EMPTY) && is_empty(moment)?;
    if !over {
        return Ok(());
    }
    match fs::remove_dir_all(moment) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether there are no files below.
fn is_empty(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || !is_empty(&entry.path())? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use jiff::Timestamp;

    use super::{super::COPIES, list, sweep_at};

    fn put(dir: &Path, path: &str, bytes: usize) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'x'; bytes]).unwrap();
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_old_and_the_too_much_go_and_the_newest_stays() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "f/deleted/20260101T000000000Z-1/a/b", 1);
        put(dir.path(), "f/conflicts/20260201T000000000Z-1/big", 80_000);
        put(dir.path(), "g/deleted/20260202T000000000Z-1/c", 30_000);
        let now = at("2026-02-02T01:00:00Z");
        assert_eq!(sweep_at(dir.path(), now, 1_000_000).unwrap(), 1);
        assert!(!dir.path().join("f/deleted/20260101T000000000Z-1").exists());
        assert_eq!(sweep_at(dir.path(), now, 100_000).unwrap(), 1);
        assert_eq!(sweep_at(dir.path(), now, 10).unwrap(), 0, "the newest stays, however large");
        assert!(!dir.path().join("f/conflicts/20260201T000000000Z-1").exists());
        assert!(dir.path().join("g/deleted/20260202T000000000Z-1/c").exists());
        assert_eq!(sweep_at(&dir.path().join("none"), now, 0).unwrap(), 0);
    }

    /// What is all holes takes no room here, and would take it elsewhere.
    #[test]
    fn a_sparse_file_counts_by_its_length() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "f/deleted/20260202T000000000Z-1/new", 1);
        put(dir.path(), "f/conflicts/20260201T000000000Z-1/sparse", 0);
        let sparse = dir.path().join("f/conflicts/20260201T000000000Z-1/sparse");
        fs::File::options().write(true).open(&sparse).unwrap().set_len(3 << 30).unwrap();
        assert_eq!(sweep_at(dir.path(), at("2026-02-02T01:00:00Z"), 1 << 30).unwrap(), 1);
        assert!(!sparse.exists());
    }

    #[test]
    fn of_what_changes_all_the_time_a_few_copies_stay() {
        let dir = tempfile::tempdir().unwrap();
        for minute in 10..40 {
            put(dir.path(), &format!("f/deleted/20260101T00{minute}00000Z-1/pid"), 3);
        }
        put(dir.path(), "f/deleted/20260101T000000000Z-1/precious", 3);
        sweep_at(dir.path(), at("2026-01-01T01:00:00Z"), 1_000_000).unwrap();
        let left = list(dir.path()).unwrap().remove(0).items;
        let times: Vec<_> =
            left.iter().filter(|item| item.path == "pid").map(|item| item.at.to_string()).collect();
        assert_eq!((times.len(), times[0].as_str()), (COPIES, "2026-01-01T00:39:00Z"));
        assert!(left.iter().any(|item| item.path == "precious"));
    }
}
