//! The base: what was last known to be equal on both sides, durable, one file per spec.
//!
//! It tells a file that was deleted here while apart from one that a fresh container brings along. A base that is
//! damaged counts as unknown, and an old one is safe: what it does not know is never deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use ksync_tree::{Entry, Kind};
use serde::{Deserialize, Serialize};
use tracing::warn;

/// What was equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Base {
    /// Sorted as a listing is; hashes are left out.
    pub entries: Vec<Entry>,
    /// Id of the container whose changes came back.
    pub two_way: Option<String>,
    /// Ids of all containers that held it.
    pub seen: BTreeSet<String>,
    /// Paths that were in the base once and are gone here since: what an image brings along again.
    pub gone: BTreeSet<String>,
}

impl Base {
    /// The next picture, which remembers what was in this one and is gone.
    #[must_use]
    pub(crate) fn next(&self, entries: Vec<Entry>, two_way: Option<String>, seen: BTreeSet<String>) -> Self {
        let before = self.entries.iter().map(|entry| entry.path.clone());
        let mut gone: BTreeSet<String> = self.gone.iter().cloned().chain(before).collect();
        for entry in &entries {
            gone.remove(&entry.path);
        }
        // An old deletion that is forgotten costs a file that comes back; a list without end costs more.
        while gone.len() > MOST_GONE {
            gone.pop_first();
        }
        Self { entries, two_way, seen, gone }
    }

    /// The same with what was `held` by a container since, which is `seen` now if it was not before.
    #[must_use]
    pub(crate) fn since(&self, held: &BTreeMap<String, Entry>, seen: Option<&str>) -> Self {
        let mut entries: BTreeMap<&str, &Entry> = self.entries.iter().map(|e| (e.path.as_str(), e)).collect();
        entries.extend(held.iter().map(|(path, entry)| (path.as_str(), entry)));
        let mut entries: Vec<Entry> = entries.into_values().cloned().collect();
        entries.sort_by(|a, b| ksync_tree::compare(&a.path, &b.path));
        let mut now = Self { entries, ..self.clone() };
        now.seen.extend(seen.map(str::to_owned));
        now
    }
}

/// Deletions that are remembered.
const MOST_GONE: usize = 20_000;

/// A base at its place.
#[derive(Debug, Clone)]
pub(crate) struct BaseFile {
    path: PathBuf,
    of: String,
}

/// Why a base was not written.
#[derive(Debug, thiserror::Error)]
#[error("write the base `{path}`")]
pub(crate) struct Error {
    path: PathBuf,
    source: io::Error,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    of: String,
    seen: BTreeSet<String>,
    gone: BTreeSet<String>,
    two_way: Option<String>,
    entries: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    kind: char,
    size: u64,
    mtime_ns: i64,
    mode: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Vec<u8>>,
}

impl BaseFile {
    /// The base of spec `name` in `dir`, which need not exist. `of` says what it is a base of (paths, target): one
    /// that was of something else is unknown.
    pub(crate) fn new(dir: &Path, name: &str, of: impl Into<String>) -> Self {
        Self { path: dir.join(crate::home::short_hash(name.as_bytes())), of: of.into() }
    }

    /// Reads it; none when there is none, or when it can't be trusted.
    pub(crate) fn load(&self) -> Option<Base> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %self.path.display(), %error, "read the base; going on without");
                return None;
            }
        };
        let Some((of, base)) = parse(&text) else {
            warn!(path = %self.path.display(), "the base is damaged; going on without");
            return None;
        };
        if of != self.of {
            warn!(of, "the base is of something else; going on without");
        }
        (of == self.of).then_some(base)
    }

    /// Replaces it: written beside, synced, renamed.
    pub(crate) fn save(&self, base: &Base) -> Result<(), Error> {
        let write = || {
            let dir = self.path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(dir)?;
            let mut file = tempfile::Builder::new().prefix(".ksync.").suffix(".tmp").tempfile_in(dir)?;
            file.write_all(render(base, &self.of)?.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)?;
            fs::File::open(dir)?.sync_all()
        };
        write().map_err(|source| Error { path: self.path.clone(), source })
    }

    /// Forgets the base of spec `name` in `dir`: the spec is no more.
    pub(crate) fn forget(dir: &Path, name: &str) {
        let Self { path, .. } = Self::new(dir, name, "");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(path = %path.display(), %error, "remove a base");
            }
            _ => {}
        }
    }
}

fn render(base: &Base, of: &str) -> io::Result<String> {
    let head = Head {
        version: 1,
        of: of.to_owned(),
        seen: base.seen.clone(),
        gone: base.gone.clone(),
        two_way: base.two_way.clone(),
        entries: base.entries.len(),
    };
    let mut text = serde_json::to_string(&head)? + "\n";
    for entry in &base.entries {
        let kind = match entry.kind {
            Kind::File => 'f',
            Kind::Dir => 'd',
            Kind::Symlink => 'l',
        };
        let Entry { path, size, mtime_ns, mode, target, .. } = entry.clone();
        text += &serde_json::to_string(&Line { path, kind, size, mtime_ns, mode, target })?;
        text.push('\n');
    }
    let sum = blake3::hash(text.as_bytes()).to_hex();
    Ok(text + &sum + "\n")
}

fn parse(text: &str) -> Option<(String, Base)> {
    let (body, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = text.get(..=body.len())?;
    if *sum != *blake3::hash(body.as_bytes()).to_hex() {
        return None;
    }
    let mut lines = body.lines();
    let head: Head = serde_json::from_str(lines.next()?).ok()?;
    let entries: Option<Vec<Entry>> = lines.map(entry).collect();
    let entries = entries.filter(|entries| head.version == 1 && entries.len() == head.entries)?;
    Some((head.of, Base { entries, two_way: head.two_way, seen: head.seen, gone: head.gone }))
}

fn entry(line: &str) -> Option<Entry> {
    let Line { path, kind, size, mtime_ns, mode, target } = serde_json::from_str(line).ok()?;
    let kind = match kind {
        'f' => Kind::File,
        'd' => Kind::Dir,
        'l' => Kind::Symlink,
        _ => return None,
    };
    // An earlier version noted set-uid, set-gid and sticky, which are not compared any more.
    Some(Entry { path, kind, size, mtime_ns, mode: mode & 0o777, hash: None, target })
}

#[cfg(test)]
mod tests {
    use ksync_tree::{Entry, Kind};

    use super::{Base, BaseFile};

    fn base() -> Base {
        let entry = |path: &str, kind, target| Entry {
            path: path.into(),
            kind,
            size: 7,
            mtime_ns: -5,
            mode: 0o644,
            hash: None,
            target,
        };
        let entries = vec![
            entry("d", Kind::Dir, None),
            entry("d/line\nbreak ü", Kind::File, None),
            entry("l", Kind::Symlink, Some(b"\xff/x".to_vec())),
        ];
        Base {
            entries,
            two_way: Some("containerd://1".into()),
            seen: ["containerd://1".to_owned()].into(),
            gone: ["old".to_owned()].into(),
        }
    }

    #[test]
    fn it_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = BaseFile::new(&dir.path().join("base"), "s", "/x");
        assert_eq!(file.load(), None);
        file.save(&base()).unwrap();
        assert_eq!(file.load(), Some(base()));
        let other = BaseFile::new(&dir.path().join("base"), "s", "/y");
        assert_eq!(other.load(), None, "of another directory");
        file.save(&Base::default()).unwrap();
        assert_eq!(file.load(), Some(Base::default()));
        BaseFile::forget(&dir.path().join("base"), "s");
        assert_eq!(file.load(), None);
    }

    #[test]
    fn what_is_gone_is_remembered_until_it_is_back() {
        let mut base = base();
        let entries = base.entries.split_off(2);
        let next = base.next(entries.clone(), None, [].into());
        assert_eq!(next.gone.iter().map(String::as_str).collect::<Vec<_>>(), ["d", "d/line\nbreak ü", "old"]);
        let again = next.next([base.entries.clone(), entries].concat(), None, [].into());
        assert_eq!(again.gone.iter().map(String::as_str).collect::<Vec<_>>(), ["old"]);
    }

    #[test]
    fn any_damage_makes_it_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let file = BaseFile::new(dir.path(), "s", "/x");
        file.save(&base()).unwrap();
        let whole = std::fs::read(&file.path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&file.path, &flipped).unwrap();
            assert_eq!(file.load(), None, "byte {at}");
            std::fs::write(&file.path, &whole[..at]).unwrap();
            assert_eq!(file.load(), None, "cut at {at}");
        }
    }
}
