//! Taking the copy that syncthing keeps of a file out of the way of the next one.
//!
//! syncthing names a copy by the second, and a second replacement within it takes the first copy's place: the content that
//! was here before the container wrote would be gone. Its index goes out four times a second at most, so there is time to give
//! the first copy an earlier second, which is free. Invariant: no copy takes another's place here.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::{ToSpan, civil::DateTime};

use super::{Kind, list::untagged};

/// How syncthing writes the time in a copy's name. Source: lib/versioner/util.go of syncthing.
const TAG: &str = "%Y%m%d-%H%M%S";
/// What is older than this has no second of its own to share.
const RECENT: Duration = Duration::from_secs(2);
/// How far back a free second is looked for.
const SECONDS: i64 = 600;

/// Gives the newest of syncthing's copies of the file at `path` in the kept directory `folder` an earlier second, if it was
/// made just now; returns whether it did.
pub(crate) fn set_aside(folder: &Path, path: &str) -> io::Result<bool> {
    let (below, name) = path.rsplit_once('/').unwrap_or(("", path));
    let dir = folder.join(Kind::Replaced.dir()).join(below);
    let copies = match fs::read_dir(&dir) {
        Ok(copies) => copies,
        // It was a new file, and nothing is kept.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let names = copies.filter_map(|copy| copy.ok()?.file_name().into_string().ok());
    let Some(newest) = names.filter(|copy| untagged(copy).is_some_and(|of| of == name)).max() else {
        return Ok(false);
    };
    let place = dir.join(&newest);
    if !is_recent(&place)? {
        return Ok(false);
    }
    for earlier in (1..=SECONDS).filter_map(|seconds| retagged(&newest, seconds)) {
        match move_to_free(&place, &dir.join(earlier)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved.map(|()| true),
        }
    }
    Ok(false)
}

/// Whether a file was put where it is just now.
fn is_recent(place: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let meta = place.symlink_metadata()?;
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(meta.ctime().try_into().unwrap_or_default());
    // A clock that was put back tells nothing.
    Ok(at.elapsed().is_ok_and(|age| age < RECENT))
}

/// A copy's name with a time so many seconds earlier.
fn retagged(copy: &str, seconds: i64) -> Option<String> {
    let (stem, rest) = copy.rsplit_once('~')?;
    let (tag, extension) = rest.split_at_checked(15)?;
    let earlier = DateTime::strptime(TAG, tag).ok()?.checked_sub(seconds.seconds()).ok()?;
    Some(format!("{stem}~{}{extension}", earlier.strftime(TAG)))
}

fn move_to_free(from: &PathBuf, to: &Path) -> io::Result<()> {
    // A link never takes another's place, as a rename does.
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Kind, retagged, set_aside};
    use crate::kept::{list, note};

    #[test]
    fn an_earlier_second_is_named_as_syncthing_does() {
        let name = |copy: &str, seconds| retagged(copy, seconds).unwrap();
        assert_eq!(name("a~b~20260101-000001.txt", 2), "a~b~20251231-235959.txt");
        assert_eq!(name("Makefile~20260301-000000", 1), "Makefile~20260228-235959");
        assert_eq!((retagged("b~notes.txt", 1), retagged("b~20261399-000000", 1)), (None, None));
    }

    #[test]
    fn replacements_within_a_second_leave_a_copy_each() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ksync-1");
        note(&folder, "/w".as_ref()).unwrap();
        let syncthings = folder.join("replaced/d");
        fs::create_dir_all(&syncthings).unwrap();
        fs::write(syncthings.join("ab~20260101-000000.txt"), "another file").unwrap();
        let versions = ["original", "the container's first", "its second"];
        for content in versions {
            fs::write(syncthings.join("a~20260101-000000.txt"), content).unwrap();
            assert!(set_aside(&folder, "d/a.txt").unwrap());
        }
        assert!(!set_aside(&folder, "new").unwrap() && !set_aside(&folder, "d/none.txt").unwrap());
        let items = list(dir.path()).unwrap().remove(0).items;
        let of = |path: &str| {
            let own = items.iter().filter(|item| item.path == path && item.kind == Kind::Replaced);
            let mut contents: Vec<_> = own.map(|item| fs::read_to_string(&item.place).unwrap()).collect();
            contents.sort();
            contents
        };
        assert_eq!(of("d/a.txt"), ["its second", "original", "the container's first"]);
        assert_eq!(of("d/ab.txt"), ["another file"]);
    }
}
