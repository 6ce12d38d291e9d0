//! What was taken out of a local folder on a container's word: `kept/<folder>/<kind>/<moment>/<path>`, where a moment is
//! one going of several files together. `kept/<folder>/local-path` says whose it is.
//!
//! Kept for a week, the newest of a path, and within a size, the oldest goes first. Nothing here touches a user's
//! directory but `restore`, which never replaces what is there without keeping it in turn.

mod list;
mod moments;
mod restore;
mod sweep;

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::home::write_whole;

pub(crate) use list::{Folder, Item, conflicts, dismiss, list};
pub(crate) use moments::Moments;
pub(crate) use restore::{Restored, restore};
pub(crate) use sweep::sweep;

/// How many copies of a path of one kind are kept at least.
const COPIES: usize = 5;
/// How many of its conflicts: what both sides write again and again is lost to nobody who looks the same day.
const CONFLICTS: usize = 100;
/// How much these are together at most, in bytes.
const CONFLICTS_SIZE: u64 = 16 << 20;

/// The file that says which local path a folder is.
const LOCAL_PATH: &str = "local-path";

/// Why something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A container deleted it.
    Deleted,
    /// A container deleted it, with more than half of the folder, and a person agreed.
    Accepted,
    /// A container's content replaced it.
    Replaced,
    /// A container's content, which local content replaced there at the first sync.
    FirstSync,
    /// The container's side of a conflict, which lost.
    Conflict,
    /// The same, which a person has seen.
    Dismissed,
    /// It was in the way of a restore.
    Restored,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Deleted,
        Self::Accepted,
        Self::Replaced,
        Self::FirstSync,
        Self::Conflict,
        Self::Dismissed,
        Self::Restored,
    ];

    /// Its directory's name.
    const fn dir(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Accepted => "accepted",
            Self::Replaced => "replaced",
            Self::FirstSync => "first-sync",
            Self::Conflict => "conflicts",
            Self::Dismissed => "dismissed",
            Self::Restored => "restored",
        }
    }

    /// Whether a copy of a path goes, of which there are so many `newer` ones of this kind, and which make `bytes` with it.
    const fn is_surplus(self, newer: usize, bytes: u64) -> bool {
        let is_of_both = matches!(self, Self::Conflict | Self::Dismissed);
        newer >= COPIES && (!is_of_both || newer >= CONFLICTS || bytes > CONFLICTS_SIZE)
    }

    /// As a person is told.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Deleted | Self::Accepted => "deleted",
            Self::Replaced => "replaced",
            Self::FirstSync => "first-sync",
            Self::Conflict | Self::Dismissed => "conflict",
            Self::Restored => "restored",
        }
    }

    /// The directory of a new moment of this kind in a folder's kept directory. Not made yet.
    pub(crate) fn moment(self, folder: &Path) -> PathBuf {
        folder.join(self.dir()).join(stamp())
    }
}

/// A name for what was moved away at one moment, which sorts by time and is never given twice.
fn stamp() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) % 1_000_000;
    format!("{}-{number:06}", moment(Timestamp::now()))
}

/// A time as it is spelt in names: `20261122T183459123Z`.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%S%3fZ").to_string()
}

/// The time that a name begins with; none when it is no moment's.
fn moment_of(name: &str) -> Option<Timestamp> {
    let text = name.get(..19).filter(|text| text.ends_with('Z') && text.get(8..9) == Some("T"))?;
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i16>().ok();
    let small = |range| number(range).and_then(|number| i8::try_from(number).ok());
    let ms = i32::from(number(15..18)?);
    let date = DateTime::new(
        number(0..4)?,
        small(4..6)?,
        small(6..8)?,
        small(9..11)?,
        small(11..13)?,
        small(13..15)?,
        ms * 1_000_000,
    );
    Some(date.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Notes which local path the kept directory `folder` is of.
pub(crate) fn note(folder: &Path, local: &Path) -> io::Result<()> {
    let file = folder.join(LOCAL_PATH);
    let text = format!("{}\n", local.display());
    if fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    write_whole(&file, text.as_bytes())
}

/// The local path that was noted; none when none was.
fn noted(folder: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(folder.join(LOCAL_PATH)).ok()?;
    text.strip_suffix('\n').filter(|path| path.starts_with('/')).map(PathBuf::from)
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{moment, moment_of, note, noted, stamp};

    #[test]
    fn no_two_moments_share_a_name_and_names_tell_the_time() {
        assert_ne!(stamp(), stamp());
        let at: Timestamp = "2026-11-22T18:34:59.123Z".parse().unwrap();
        assert_eq!(moment(at), "20261122T183459123Z");
        assert_eq!(moment_of("20261122T183459123Z-000001"), Some(at));
        for name in [
            "",
            "20261122T183459123",
            "20261322T183459123Z-1",
            "x0261122T183459123Z",
            "ü".repeat(19).as_str(),
        ] {
            assert_eq!(moment_of(name), None, "{name}");
        }
    }

    #[test]
    fn whose_it_is_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("kept/f");
        assert_eq!(noted(&folder), None);
        for path in ["/a b", "/ü", "/ü"] {
            note(&folder, path.as_ref()).unwrap();
            assert_eq!(noted(&folder), Some(path.into()));
        }
    }
}
