//! Listing a tree: every entry that is synced, parents before children, in the order of [`crate::compare`]; and what
//! was skipped, with the reason. A file that vanishes on the way is left out silently, and so is what belongs to
//! syncthing or to us, whatever the patterns say; nothing else is.

use crate::entry::{Entry, Kind, Skipped};
use crate::error::Error;
use crate::ignore::Ignore;
use crate::path::{MAX_DEPTH, MAX_PATH, covers, join};
use crate::root::{Root, reading};
use crate::stat::entry_at;
use crate::write::{is_internal, is_temp};
use std::os::fd::OwnedFd;

/// What goes into a listing.
#[derive(Debug, Clone, Copy)]
pub struct ListOptions<'a> {
    /// Read every file and fill `Entry::hash`.
    pub hash: bool,
    /// Left out by pattern.
    pub ignore: &'a Ignore,
    /// Left out by path, with all that is below (mounts that are not synced).
    pub exclude: &'a [String],
}

/// A whole tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of [`crate::compare`]; the root itself is not among them.
    pub entries: Vec<Entry>,
    /// What could not be listed. A directory here means that what is below it is unknown.
    pub skipped: Vec<Skipped>,
}

/// Lists the whole tree into memory.
pub fn list(root: &Root, options: &ListOptions<'_>) -> Result<Listing, Error> {
    let mut walk = Walk { options, listing: Listing::default(), ignored_above: Vec::new() };
    let top = root.reading()?;
    walk.directory(&top, "", 0)?;
    Ok(walk.listing)
}

/// Why a name is not synced that is in no composed form.
pub(crate) const NOT_COMPOSED: &str = "its name is not in Unicode's composed form (NFC)";

/// Whether a name or path is in Unicode's composed form (NFC), as syncthing wants it.
pub(crate) fn is_composed(name: &str) -> bool {
    unicode_normalization::is_nfc(name)
}

struct Walk<'a> {
    options: &'a ListOptions<'a>,
    listing: Listing,
    /// Ignored directories on the way here: listed only when a negated pattern takes something below them back in.
    ignored_above: Vec<Entry>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &OwnedFd, prefix: &str, depth: usize) -> Result<(), Error> {
        let mut names = Vec::new();
        let reader =
            rustix::fs::Dir::read_from(dir).map_err(|e| Error::io("read the directory", shown(prefix), e))?;
        for item in reader {
            let item = item.map_err(|e| Error::io("read the directory", shown(prefix), e))?;
            match item.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(name) => names.push(name.to_owned()),
                Err(_) => {
                    let path = join(prefix, &item.file_name().to_string_lossy());
                    self.skip(path, "its name is not UTF-8".to_owned());
                }
            }
        }
        names.sort_unstable();
        for name in names {
            self.one(dir, &name, join(prefix, &name), depth);
        }
        Ok(())
    }

    fn one(&mut self, dir: &OwnedFd, name: &str, path: String, depth: usize) {
        if is_temp(name) || is_internal(name) || self.options.exclude.iter().any(|above| covers(above, &path))
        {
            return;
        }
        if !is_composed(name) {
            // syncthing passes such names over, so they must not count as synced.
            self.skip(path, NOT_COMPOSED.to_owned());
            return;
        }
        if path.len() > MAX_PATH {
            self.skip(path, "its path is too long".to_owned());
            return;
        }
        // Hashing an ignored file would be a waste, and without negations nothing below one can be taken back in.
        let ignored = self.options.ignore.matches(&path);
        if ignored && !self.options.ignore.has_negation() {
            return;
        }
        let entry = match entry_at(dir, name, &path, self.options.hash && !ignored) {
            Ok(Some(entry)) => entry,
            Ok(None) => return,
            Err(_) if ignored => return,
            Err(e) => {
                self.skip(path, reason(&e));
                return;
            }
        };
        if entry.kind != Kind::Dir {
            if !ignored {
                self.emit(entry);
            }
            return;
        }
        let above = self.ignored_above.len();
        if ignored {
            self.ignored_above.push(entry);
        } else {
            self.emit(entry);
        }
        let above = above.min(self.ignored_above.len());
        if depth + 1 >= MAX_DEPTH {
            self.skip(path, "it is nested too deep".to_owned());
        } else {
            match reading(dir, name, &path).and_then(|below| self.directory(&below, &path, depth + 1)) {
                Ok(()) => {}
                Err(e) if e.is_not_found() => {}
                Err(e) => self.skip(path, reason(&e)),
            }
        }
        self.ignored_above.truncate(above);
    }

    fn emit(&mut self, entry: Entry) {
        self.listing.entries.append(&mut self.ignored_above);
        self.listing.entries.push(entry);
    }

    fn skip(&mut self, path: String, reason: String) {
        self.listing.skipped.push(Skipped { path, reason });
    }
}

fn shown(prefix: &str) -> &str {
    if prefix.is_empty() { "." } else { prefix }
}

/// The error as the reason for leaving an entry out, without naming the path twice.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::WrongKind { what, .. } => format!("it is {what}"),
        Error::Io { operation, source, .. } => format!("can't {operation} it: {source}"),
        Error::NotADirectory { .. } => "it is no longer a directory".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    fn paths(dir: &std::path::Path, ignore: &Ignore, exclude: &[String]) -> (Vec<String>, Vec<String>) {
        let root = Root::open(dir).unwrap();
        let listing = list(&root, &ListOptions { hash: true, ignore, exclude }).unwrap();
        let skipped = listing.skipped.into_iter().map(|s| format!("{}: {}", s.path, s.reason)).collect();
        (listing.entries.into_iter().map(|e| e.path).collect(), skipped)
    }

    #[test]
    fn names_that_syncthing_passes_over_are_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("gro\u{308}ße"), "").unwrap();
        let (entries, skipped) = paths(dir.path(), &Ignore::none(), &[]);
        assert_eq!(entries, Vec::<String>::new());
        assert_eq!(skipped, ["gro\u{308}ße: its name is not in Unicode's composed form (NFC)"]);
    }

    #[test]
    fn what_is_there_is_listed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        fs::create_dir_all(at("a/empty")).unwrap();
        fs::write(at("a/ünï-☃"), "x").unwrap();
        fs::write(at("a-b"), "").unwrap();
        fs::write(at(".ksync.00.tmp"), "").unwrap();
        symlink("/etc", at("out")).unwrap();
        std::os::unix::net::UnixListener::bind(at("sock")).unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff")), "").unwrap();
        let (entries, skipped) = paths(dir.path(), &Ignore::none(), &[]);
        assert_eq!(entries, ["a", "a/empty", "a/ünï-☃", "a-b", "out"]);
        assert_eq!(skipped, ["bad\u{fffd}: its name is not UTF-8", "sock: it is a socket"]);
    }

    #[test]
    fn ignored_and_excluded_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for p in ["x/keep/f", "x/drop/f", "v/a", "v2/a"] {
            fs::create_dir_all(dir.path().join(p).parent().unwrap()).unwrap();
            fs::write(dir.path().join(p), "1").unwrap();
        }
        let ignore = Ignore::new(&["!/x/keep".into(), "/x".into()]).unwrap();
        let (entries, _) = paths(dir.path(), &ignore, &["v".into()]);
        assert_eq!(entries, ["v2", "v2/a", "x", "x/keep", "x/keep/f"]);
        let (entries, _) = paths(dir.path(), &Ignore::new(&["x".into()]).unwrap(), &[]);
        assert_eq!(entries, ["v", "v/a", "v2", "v2/a"]);
    }

    #[test]
    fn what_belongs_to_syncthing_or_us_is_never_listed() {
        let dir = tempfile::tempdir().unwrap();
        for p in [
            ".stignore",
            ".stfolder/x",
            ".ksync.1.tmp",
            "d/.stignore",
            "d/.stfolder",
            "d/.syncthing.f.tmp",
            "d/~syncthing~f.tmp",
            "d/.ksync.2.tmp",
            "d/.stignored",
            "d/syncthing.f.tmp",
        ] {
            fs::create_dir_all(dir.path().join(p).parent().unwrap()).unwrap();
            fs::write(dir.path().join(p), "").unwrap();
        }
        let wanted = ["d", "d/.stignored", "d/syncthing.f.tmp"];
        let all_back = Ignore::with_defaults(&["!**".to_owned()]).unwrap();
        for ignore in [Ignore::none(), all_back] {
            assert_eq!(paths(dir.path(), &ignore, &[]), (wanted.map(str::to_owned).to_vec(), vec![]));
        }
    }

    #[test]
    fn a_tree_deeper_than_the_limit_is_skipped_not_fatal() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d/".repeat(MAX_DEPTH + 20))).unwrap();
        let (entries, skipped) = paths(dir.path(), &Ignore::none(), &[]);
        assert_eq!(entries.len(), MAX_DEPTH);
        assert_eq!(skipped.len(), 1);
    }
}
