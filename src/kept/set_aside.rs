//! Taking the copy that syncthing keeps of a file out of the way of the next one.
//!
//! syncthing names a copy by the second, and a second replacement within it takes the first copy's place: the content that
//! was here before the container wrote would be gone. Its index goes out four times a second at most, so there is time to give
//! the first copy a name that is never given twice: `set-aside/PATH~MOMENT`, all copies of a path beside each other.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{
    COPIES, Kind,
    list::{of_aside, untagged},
    stamp,
};

/// Sets syncthing's copies of the file at `path` in the kept directory `folder` aside, and removes what there is too much of;
/// returns how many copies there were.
pub(crate) fn set_aside(folder: &Path, path: &str) -> io::Result<usize> {
    let (below, name) = path.rsplit_once('/').unwrap_or(("", path));
    // Where there are none, it was a new file.
    let copies = named(&folder.join(Kind::Replaced.dir()).join(below), |copy| {
        untagged(copy).is_some_and(|of| of == name)
    })?;
    if copies.is_empty() {
        return Ok(0);
    }
    let aside = folder.join(Kind::SetAside.dir()).join(below);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&aside)?;
    for copy in &copies {
        fs::rename(copy, aside.join(format!("{name}~{}", stamp())))?;
    }
    // A log that changes all the time must not fill the disk until the next sweep.
    let all = named(&aside, |copy| of_aside(copy).is_some_and(|(of, _)| of == name))?;
    for old in all.iter().rev().skip(COPIES) {
        match fs::remove_file(old) {
            // A sweep was faster, or a restore.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(copies.len())
}

/// What is in a directory and named so, sorted; nothing where there is none.
fn named(dir: &Path, is: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{COPIES, Kind, set_aside};
    use crate::kept::{list, note, sweep};

    #[test]
    fn replacements_within_a_second_leave_a_copy_each() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ksync-1");
        note(&folder, "/w".as_ref()).unwrap();
        let syncthings = folder.join("replaced/d");
        fs::create_dir_all(&syncthings).unwrap();
        fs::write(syncthings.join("ab~20260101-000000.txt"), "another file").unwrap();
        let replace = |content: &str| {
            fs::write(syncthings.join("a~20260101-000000.txt"), content).unwrap();
            assert_eq!(set_aside(&folder, "d/a.txt").unwrap(), 1);
        };
        let of = |path: &str, kind: Kind| {
            sweep(dir.path());
            let items = list(dir.path()).unwrap().remove(0).items;
            let own = items.iter().filter(|item| item.path == path && item.kind == kind);
            let mut contents: Vec<_> = own.map(|item| fs::read_to_string(&item.place).unwrap()).collect();
            contents.sort();
            contents
        };
        replace("original");
        replace("the container's first");
        assert_eq!((set_aside(&folder, "new").unwrap(), set_aside(&folder, "d/none.txt").unwrap()), (0, 0));
        assert_eq!(of("d/a.txt", Kind::SetAside), ["original", "the container's first"]);
        assert_eq!(of("d/ab.txt", Kind::Replaced), ["another file"]);
        (0..COPIES).for_each(|n| replace(&n.to_string()));
        assert_eq!(of("d/a.txt", Kind::SetAside), ["0", "1", "2", "3", "4"], "the newest stay");
    }
}
