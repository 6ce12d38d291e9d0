//! A directory tree as plain data, and how two of them differ.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Written locally only, by design; everything else must be equal.
const LOCAL_ONLY: &str = ".stignore";

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File { hash: [u8; 32], size: u64, mtime_ns: i64 },
    Dir,
    Symlink(PathBuf),
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
}

/// Everything below a directory, by relative path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Node>);

/// How exactly times can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    Nanosecond,
    Second,
}

impl Tree {
    /// Reads all of it. An entry that goes away meanwhile is an error: read again.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.add(root, "")?;
        Ok(tree)
    }

    fn add(&mut self, dir: &Path, below: &str) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if below.is_empty() && name == LOCAL_ONLY {
                continue;
            }
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let node = Node::read(&entry.path())?;
            if node.kind == Kind::Dir {
                self.add(&entry.path(), &path)?;
            }
            self.0.insert(path, node);
        }
        Ok(())
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.0.iter()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Without a path and what is below it.
    pub(crate) fn without(mut self, path: &str) -> Self {
        self.0.retain(|other, _| other != path && !other.starts_with(&format!("{path}/")));
        self
    }

    /// One line for each difference in content, kind, mode, target or time of a file. Owners and the times of
    /// directories are each side's own.
    pub(crate) fn differences(&self, other: &Self, precision: Precision) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, here) in &self.0 {
            match other.0.get(path) {
                None => lines.push(format!("{path}: missing there")),
                Some(there) => {
                    lines.extend(here.difference(there, precision).map(|what| format!("{path}: {what}")));
                }
            }
        }
        let extra = other.0.keys().filter(|path| !self.0.contains_key(*path));
        lines.extend(extra.map(|path| format!("{path}: only there")));
        lines
    }

    /// What of this tree is no longer as it was below `root`, byte for byte; more may be there.
    pub(crate) fn lost(&self, root: &Path) -> Vec<String> {
        let check = |(path, node): (&String, &Node)| match Node::read(&root.join(path)) {
            Ok(now) => node.difference(&now, Precision::Nanosecond).map(|what| format!("{path}: {what}")),
            Err(error) => Some(format!("{path}: {error}")),
        };
        self.0.iter().filter_map(check).collect()
    }

    /// `Ok` when nothing differs.
    pub(crate) fn equals(&self, other: &Self, precision: Precision) -> Result<(), String> {
        let lines = self.differences(other, precision);
        if lines.is_empty() {
            return Ok(());
        }
        let more = lines.len().saturating_sub(8);
        let shown = lines.iter().take(8).map(String::as_str).collect::<Vec<_>>().join("; ");
        Err(if more == 0 { shown } else { format!("{shown}; and {more} more") })
    }
}

impl Node {
    fn read(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        let kind = if meta.is_dir() {
            Kind::Dir
        } else if meta.is_symlink() {
            Kind::Symlink(fs::read_link(path)?)
        } else if meta.is_file() {
            let content = fs::read(path)?;
            let mtime_ns = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
            Kind::File { hash: *blake3::hash(&content).as_bytes(), size: meta.size(), mtime_ns }
        } else {
            Kind::Other
        };
        let mode = if meta.is_symlink() { 0o777 } else { meta.permissions().mode() & 0o7777 };
        Ok(Self { kind, mode, uid: meta.uid() })
    }

    fn difference(&self, other: &Self, precision: Precision) -> Option<String> {
        match (&self.kind, &other.kind) {
            (Kind::File { hash, size, .. }, Kind::File { hash: h, size: s, .. }) if hash != h => {
                return Some(format!("content differs ({size} and {s} bytes)"));
            }
            (Kind::File { mtime_ns, .. }, Kind::File { mtime_ns: other, .. }) => {
                let unit = if precision == Precision::Second { 1_000_000_000 } else { 1 };
                if mtime_ns / unit != other / unit {
                    return Some(format!("modified at {mtime_ns} and {other}"));
                }
            }
            (a, b) if a != b => return Some(format!("{a:?} and {b:?}")),
            _ => {}
        }
        (self.mode != other.mode).then(|| format!("mode {:o} and {:o}", self.mode, other.mode))
    }
}
