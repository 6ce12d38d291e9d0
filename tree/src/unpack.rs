//! A packed stream into a tree. Each entry lands whole under its name or not at all; nothing is followed out of the
//! tree, and no directory that is not empty is ever replaced.

use crate::entry::{Entry, Kind, Skipped};
use crate::error::Error;
use crate::list::reason;
use crate::pack::Counts;
use crate::path::{components, covers};
use crate::pax;
use crate::root::Root;
use crate::stat::PERMISSIONS;
use crate::write::{Attributes, Pending, ensure_dir, ensure_parent, finish_dir, write_symlink};
use std::collections::BTreeSet;
use std::io::{Read, Write};

pub use crate::root::Owner;

/// Mode of a directory that the stream needs but does not contain.
const PARENT_MODE: u32 = 0o755;

/// How a stream is unpacked.
#[derive(Debug, Clone, Copy)]
pub struct UnpackOptions<'a> {
    /// Whom new entries belong to.
    pub owner: Owner,
    /// Paths that are passed over, with all that is below them.
    pub exclude: &'a [String],
    /// The only paths that the stream may hold, and as directories those above them; another is refused.
    pub only: Option<&'a BTreeSet<String>>,
    /// Leaves every entry that is there already as it is, whatever the stream holds for its path. Below one that is
    /// no directory nothing can go: that ends with [`Error::NotADirectory`].
    pub keep: bool,
    /// Most bytes of file content that the stream may hold.
    pub max_bytes: Option<u64>,
    /// Passes over a file that there is no room for, and goes on with the next.
    pub pass_over_no_room: bool,
}

impl Default for UnpackOptions<'_> {
    fn default() -> Self {
        Self {
            owner: Owner::AsIs,
            exclude: &[],
            only: None,
            keep: false,
            max_bytes: None,
            pass_over_no_room: false,
        }
    }
}

/// Reads a stream of [`crate::pack`] to its end. `on_entry` gets each entry once it is in place (directories: once
/// they exist), with the hash of what was written. After an error, what was unpacked before it stays. What was passed
/// over for want of room is in [`Counts::skipped`].
pub fn unpack(
    root: &Root,
    input: impl Read,
    options: &UnpackOptions<'_>,
    on_entry: impl FnMut(&Entry),
) -> Result<Counts, Error> {
    let decoder = zstd::Decoder::new(input).map_err(read_error)?;
    let mut archive = tar::Archive::new(decoder);
    let mut unpacker = Unpacker { root, options, on_entry, counts: Counts::default(), dirs: Vec::new() };
    let mut extended = None;
    for item in archive.entries().map_err(read_error)?.raw(true) {
        let mut item = item.map_err(read_error)?;
        if item.header().entry_type() == tar::EntryType::XHeader {
            let mut data = Vec::new();
            item.by_ref().take(pax::MAX_HEADER + 1).read_to_end(&mut data).map_err(read_error)?;
            if data.len() as u64 > pax::MAX_HEADER || extended.is_some() {
                return Err(read_error(std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "bad extended header",
                )));
            }
            extended = Some(data);
            continue;
        }
        let data = extended.take().unwrap_or_default();
        let entry = describe(&item, &data)?;
        unpacker.one(entry, &mut item)?;
    }
    unpacker.finish()?;
    // A cut stream must not pass for a complete one: the zstd frame's end is checked by reading on to it.
    let mut decoder = archive.into_inner();
    std::io::copy(&mut decoder, &mut std::io::sink()).map_err(read_error)?;
    Ok(unpacker.counts)
}

/// What the header and its extended records say; refuses everything that is not a file, directory or symlink.
fn describe<R: Read>(item: &tar::Entry<'_, R>, extended: &[u8]) -> Result<Entry, Error> {
    let header = item.header();
    let mut path = item.path_bytes().into_owned();
    let mut target = item.link_name_bytes().map(std::borrow::Cow::into_owned);
    let mut mtime_ns = None;
    let mut size_record = false;
    for (key, value) in pax::parse(extended).map_err(read_error)? {
        match key {
            "path" => value.clone_into(&mut path),
            "linkpath" => target = Some(value.to_owned()),
            "mtime" => mtime_ns = pax::parse_time(value),
            "size" => size_record = true,
            _ => {}
        }
    }
    let refused = |reason| Error::Refused { path: String::from_utf8_lossy(&path).into_owned(), reason };
    let kind = match header.entry_type() {
        tar::EntryType::Regular => Kind::File,
        tar::EntryType::Directory => Kind::Dir,
        tar::EntryType::Symlink => Kind::Symlink,
        _ => return Err(refused("it is no file, directory or symlink")),
    };
    if size_record {
        return Err(refused("its size is in an extended header"));
    }
    let target = match (kind, target) {
        (Kind::Symlink, Some(target)) if !target.is_empty() && !target.contains(&0) => Some(target),
        (Kind::Symlink, _) => return Err(refused("it is a symlink to nowhere")),
        _ => None,
    };
    let text = std::str::from_utf8(&path).map_err(|_| refused("its name is not UTF-8"))?;
    let path = if kind == Kind::Dir { text.strip_suffix('/').unwrap_or(text) } else { text };
    components(path)?;
    let seconds = header.mtime().map_err(read_error)?;
    let mode = header.mode().map_err(read_error)? & PERMISSIONS;
    Ok(Entry {
        path: path.to_owned(),
        kind,
        size: if kind == Kind::File { header.entry_size().map_err(read_error)? } else { 0 },
        mtime_ns: mtime_ns
            .unwrap_or_else(|| i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000)),
        mode: if kind == Kind::Symlink { 0o777 } else { mode },
        hash: None,
        target,
    })
}

struct Unpacker<'a, F> {
    root: &'a Root,
    options: &'a UnpackOptions<'a>,
    on_entry: F,
    counts: Counts,
    /// Get their mode and mtime last: a mode may forbid writing, and every entry below changes the mtime.
    dirs: Vec<(String, u32, i64)>,
}

impl<F: FnMut(&Entry)> Unpacker<'_, F> {
    fn one(&mut self, mut entry: Entry, content: &mut impl Read) -> Result<(), Error> {
        if self.options.exclude.iter().any(|above| covers(above, &entry.path)) {
            return Ok(());
        }
        if self.options.only.is_some_and(|only| !asked(only, &entry)) {
            return Err(Error::Refused { path: entry.path, reason: "it was not asked for" });
        }
        let owner = match self.options.owner {
            Owner::FromParent => self.root.owner(),
            other => other,
        };
        let (dir, name) = ensure_parent(self.root, &entry.path, owner, |_| PARENT_MODE)?;
        let keep = self.options.keep;
        let attributes = Attributes { mode: entry.mode, mtime_ns: Some(entry.mtime_ns), owner, keep };
        if keep && entry.kind == Kind::Dir && crate::stat::lstat(&dir, name, &entry.path)?.is_some() {
            return Ok(());
        }
        match entry.kind {
            Kind::Dir => {
                ensure_dir(&dir, name, &entry.path, entry.mode | 0o700, owner, keep)?;
                self.dirs.push((entry.path.clone(), entry.mode, entry.mtime_ns));
                self.counts.dirs += 1;
            }
            Kind::Symlink => {
                write_symlink(
                    &dir,
                    name,
                    &entry.path,
                    entry.target.as_deref().unwrap_or_default(),
                    attributes,
                )?;
                self.counts.files += 1;
            }
            Kind::File => {
                let total = self.counts.bytes.saturating_add(entry.size);
                if let Some(limit) = self.options.max_bytes.filter(|limit| total > *limit) {
                    return Err(Error::TooLarge { path: entry.path, limit });
                }
                let written = Pending::create(&dir, &entry.path).and_then(|mut pending| {
                    let hash = fill(pending.file(), content, &entry)?;
                    pending.commit(name, attributes).map(|_| hash)
                });
                match written {
                    Ok(hash) => entry.hash = Some(hash),
                    Err(error) if error.is_no_room() && self.options.pass_over_no_room => {
                        let reason = reason(&error);
                        self.counts.skipped.push(Skipped { path: entry.path, reason });
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
                self.counts.files += 1;
                self.counts.bytes = total;
            }
        }
        (self.on_entry)(&entry);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        for (path, mode, mtime_ns) in self.dirs.drain(..).rev() {
            finish_dir(&self.root.directory(&path)?, &path, mode, mtime_ns)?;
        }
        Ok(())
    }
}

/// Whether the entry is one of these, or a directory above one.
fn asked(only: &BTreeSet<String>, entry: &Entry) -> bool {
    if only.contains(&entry.path) {
        return true;
    }
    let below = format!("{}/", entry.path);
    entry.kind == Kind::Dir && only.range(below.clone()..).next().is_some_and(|path| path.starts_with(&below))
}

fn fill(file: &mut std::fs::File, content: &mut impl Read, entry: &Entry) -> Result<[u8; 32], Error> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer =
        vec![0; crate::stat::CHUNK.min(usize::try_from(entry.size).unwrap_or(usize::MAX)).max(1)];
    let mut written = 0_u64;
    loop {
        let n = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(read_error(e)),
        };
        file.write_all(&buffer[..n]).map_err(|e| Error::io("write", &entry.path, e))?;
        hasher.update(&buffer[..n]);
        written += n as u64;
    }
    if written != entry.size {
        return Err(read_error(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(*hasher.finalize().as_bytes())
}

fn read_error(source: std::io::Error) -> Error {
    Error::Stream { operation: "read", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::differences;
    use crate::ignore::Ignore;
    use crate::list::{ListOptions, list};
    use crate::pack::pack;
    use crate::write::write_file;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn entries(dir: &Path) -> Vec<Entry> {
        let options = ListOptions { hash: true, ignore: &Ignore::none(), exclude: &[] };
        list(&Root::open(dir).unwrap(), &options).unwrap().entries
    }

    fn packed(dir: &Path) -> Vec<u8> {
        let paths: Vec<_> = entries(dir).into_iter().map(|e| e.path).collect();
        let mut out = Vec::new();
        let counts = pack(&Root::open(dir).unwrap(), paths.iter().map(String::as_str), &mut out).unwrap();
        assert_eq!(counts.skipped, []);
        out
    }

    fn put(dir: &Path, stream: &[u8]) -> Result<Counts, Error> {
        unpack(&Root::open(dir).unwrap(), stream, &UnpackOptions::default(), |_| {})
    }

    /// A stream with one hand-made entry.
    fn forged(path: &[u8], kind: tar::EntryType, target: &[u8]) -> Vec<u8> {
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        let mut records = Vec::new();
        pax::push(&mut records, "path", path);
        if !target.is_empty() {
            pax::push(&mut records, "linkpath", target);
        }
        for (kind, data) in [(tar::EntryType::XHeader, records.as_slice()), (kind, &[])] {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(data.len() as u64);
            header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
            header.set_cksum();
            tar.append(&header, data).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn what_is_there_is_kept_when_asked() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("d")).unwrap();
        fs::write(from.path().join("d/f"), "theirs").unwrap();
        fs::write(from.path().join("new"), "theirs").unwrap();
        symlink("theirs", from.path().join("l")).unwrap();
        fs::create_dir(to.path().join("d")).unwrap();
        fs::write(to.path().join("d/f"), "mine").unwrap();
        symlink("mine", to.path().join("l")).unwrap();
        let mut stream = Vec::new();
        let names = ["d", "d/f", "l", "new"];
        pack(&Root::open(from.path()).unwrap(), names.into_iter(), &mut stream).unwrap();
        let options = UnpackOptions { keep: true, ..UnpackOptions::default() };
        unpack(&Root::open(to.path()).unwrap(), &stream[..], &options, |_| {}).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("d/f")).unwrap(), "mine");
        assert_eq!(fs::read_link(to.path().join("l")).unwrap(), Path::new("mine"));
        assert_eq!(fs::read_to_string(to.path().join("new")).unwrap(), "theirs");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 3, "no temporary stays");
    }

    #[test]
    fn a_tree_comes_through_exactly() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |p: &str| from.path().join(p);
        fs::create_dir_all(at("empty/inner")).unwrap();
        fs::create_dir_all(at(&"long-directory-name-".repeat(8))).unwrap();
        fs::write(at("zero"), "").unwrap();
        fs::write(at("ünïé-☃"), "x").unwrap();
        fs::write(at("line\nbreak=7 x"), "y").unwrap();
        fs::write(at(&format!("{}/f", "long-directory-name-".repeat(8))), "z".repeat(1000)).unwrap();
        let big: Vec<u8> =
            (0..9_000_001_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        fs::write(at("big"), &big).unwrap();
        symlink("/etc/passwd", at("out")).unwrap();
        symlink("t".repeat(300), at("dangling")).unwrap();
        fs::set_permissions(at("zero"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::set_permissions(at("empty"), fs::Permissions::from_mode(0o1555)).unwrap();
        let dir = Root::open(&at("empty")).unwrap();
        rustix::fs::futimens(&dir, &crate::write::times(-1_234_567_890_123)).unwrap();
        let stream = packed(from.path());
        let mut seen = Vec::new();
        let options = UnpackOptions { owner: Owner::FromParent, ..UnpackOptions::default() };
        let counts =
            unpack(&Root::open(to.path()).unwrap(), stream.as_slice(), &options, |e| seen.push(e.clone()))
                .unwrap();
        assert_eq!(entries(to.path()), entries(from.path()));
        assert_eq!(seen, entries(from.path()));
        assert_eq!((counts.files, counts.dirs, counts.bytes), (7, 3, 9_000_001 + 1002));
        // And once more over itself.
        put(to.path(), &stream).unwrap();
        assert!(differences(&entries(to.path()), &entries(from.path())).is_empty());
    }

    #[test]
    fn attacks_in_a_stream_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("in");
        fs::create_dir(&inner).unwrap();
        symlink("..", inner.join("up")).unwrap();
        let file = tar::EntryType::Regular;
        for path in ["../x", "/x", "a/../../x", "up/x", "", ".", "a//b", "a\0b"] {
            assert!(put(&inner, &forged(path.as_bytes(), file, b"")).is_err(), "{path:?}");
        }
        assert!(put(&inner, &forged(b"\xff", file, b"")).is_err());
        let kinds =
            [tar::EntryType::Link, tar::EntryType::Char, tar::EntryType::Fifo, tar::EntryType::GNUSparse];
        for kind in kinds {
            assert!(put(&inner, &forged(b"x", kind, b"../y")).is_err(), "{kind:?}");
        }
        assert!(put(&inner, &forged(b"x", tar::EntryType::Symlink, b"")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
    }

    #[test]
    fn a_symlink_in_the_stream_does_not_lead_the_next_entry_out() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = outside.path().to_str().unwrap().as_bytes().to_vec();
        put(dir.path(), &forged(b"a", tar::EntryType::Symlink, &target)).unwrap();
        assert!(matches!(
            put(dir.path(), &forged(b"a/x", tar::EntryType::Regular, b"")),
            Err(Error::NotADirectory { .. })
        ));
        // A directory of that name replaces the link and leaves its target alone.
        put(dir.path(), &forged(b"a", tar::EntryType::Directory, b"")).unwrap();
        put(dir.path(), &forged(b"a/x", tar::EntryType::Regular, b"")).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn kinds_change_only_where_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("full/x")).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        put(dir.path(), &forged(b"empty", tar::EntryType::Regular, b"")).unwrap();
        assert!(dir.path().join("empty").is_file());
        for kind in [tar::EntryType::Regular, tar::EntryType::Symlink] {
            let result = put(dir.path(), &forged(b"full", kind, b"t"));
            assert!(matches!(result, Err(Error::NotEmpty { path }) if path == "full"));
        }
        let names: Vec<_> = entries(dir.path()).into_iter().map(|e| e.path).collect();
        assert_eq!(names, ["empty", "full", "full/x"]);
    }

    #[test]
    fn a_cut_or_broken_stream_is_an_error() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let content: Vec<u8> =
            (0..200_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        fs::write(from.path().join("f"), content).unwrap();
        let stream = packed(from.path());
        for cut in [0, 10, stream.len() / 2, stream.len() - 3] {
            let result = put(to.path(), &stream[..cut]);
            assert!(
                matches!(result, Err(Error::Stream { operation: "read", .. })),
                "cut at {cut}: {result:?}"
            );
        }
        assert!(fs::read_dir(to.path()).unwrap().count() <= 1, "a temporary file was left behind");
    }

    #[test]
    fn limits_and_exclusions_hold() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("v")).unwrap();
        fs::write(from.path().join("v/a"), "12345").unwrap();
        fs::write(from.path().join("w"), "12345").unwrap();
        let stream = packed(from.path());
        let root = Root::open(to.path()).unwrap();
        let options = UnpackOptions { max_bytes: Some(9), ..UnpackOptions::default() };
        assert!(matches!(
            unpack(&root, stream.as_slice(), &options, |_| {}),
            Err(Error::TooLarge { limit: 9, .. })
        ));
        let to = tempfile::tempdir().unwrap();
        let root = Root::open(to.path()).unwrap();
        let exclude = ["v".to_owned()];
        let options = UnpackOptions { exclude: &exclude, max_bytes: Some(9), ..options };
        assert_eq!(unpack(&root, stream.as_slice(), &options, |_| {}).unwrap().bytes, 5);
        assert!(!to.path().join("v").exists());
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let from = tempfile::tempdir().unwrap();
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        fs::write(from.path().join("a/b/f"), "x").unwrap();
        let stream = packed(from.path());
        let only = |paths: &[&str]| {
            let to = tempfile::tempdir().unwrap();
            let only = paths.iter().map(|path| (*path).to_owned()).collect();
            let options = UnpackOptions { only: Some(&only), ..UnpackOptions::default() };
            let result = unpack(&Root::open(to.path()).unwrap(), stream.as_slice(), &options, |_| {});
            (result.map(|counts| counts.files), to.path().join("a/b/f").exists())
        };
        assert!(matches!(only(&["a/b/f"]), (Ok(1), true)), "the directories above come with it");
        for paths in [&["a/b"][..], &["a/b/fg", "a/b-f"], &["b/f"], &[]] {
            assert!(matches!(only(paths), (Err(Error::Refused { .. }), false)), "{paths:?}");
        }
    }

    #[test]
    fn what_vanished_is_counted_not_fatal() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("f"), "x").unwrap();
        let root = Root::open(from.path()).unwrap();
        let mut out = Vec::new();
        let counts = pack(&root, ["gone", "gone/deep", "f"].into_iter(), &mut out).unwrap();
        assert_eq!((counts.files, counts.skipped.len()), (1, 2));
        assert!(pack(&root, ["../f"].into_iter(), &mut Vec::new()).is_err());
        write_file(&Root::open(to.path()).unwrap(), "f", b"old", None, Owner::AsIs).unwrap();
        put(to.path(), &out).unwrap();
        assert_eq!(fs::read(to.path().join("f")).unwrap(), b"x");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_without_room_can_be_passed_over() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, length) in [("a", 10), ("big", 3_000_000), ("z", 10)] {
            fs::write(from.path().join(name), vec![b'x'; length]).unwrap();
        }
        let none = rustix::mount::MountFlags::empty();
        if rustix::mount::mount("none", to.path(), "tmpfs", none, Some(c"size=1m")).is_err() {
            return ksync_skip::skipped("nothing can be mounted here");
        }
        let (stream, root) = (packed(from.path()), Root::open(to.path()).unwrap());
        let strict = unpack(&root, &stream[..], &UnpackOptions::default(), |_| {});
        let options = UnpackOptions { pass_over_no_room: true, ..UnpackOptions::default() };
        let passed = unpack(&root, &stream[..], &options, |_| {});
        let left: Vec<String> = entries(to.path()).into_iter().map(|entry| entry.path).collect();
        let temporary = fs::read_dir(to.path()).unwrap().count();
        drop(root);
        rustix::mount::unmount(to.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(strict.unwrap_err().is_no_room());
        let counts = passed.unwrap();
        assert_eq!((counts.files, counts.skipped[0].path.as_str()), (2, "big"));
        assert_eq!((left, temporary), (vec!["a".to_owned(), "z".to_owned()], 2));
    }
}
