//! An attached directory, and the rule by which people may hold directories.
//!
//! Invariant: no two people ever hold overlapping paths of one container, or one directory under two names
//! (a shared volume); of one person the same directory may be attached for several containers of a folder.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use ksync_keys::Fingerprint;
use ksync_tree::{Identity, Ignore, Root, below, covers};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::container::{
    init_process::InitProcess, mount::directory::Directory, mountinfo::Submount, power::Workers,
    runtime::ContainerId,
};

/// A container's directory that a person holds.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// Made by radar, never used twice.
    pub(crate) id: String,
    /// Who holds it, and what.
    pub(crate) claim: Claim,
    /// The container's init.
    pub(crate) life: InitProcess,
    /// The directory, for the workers' reading and writing.
    pub(crate) root: Root,
    /// Who may do that.
    pub(crate) workers: Workers,
    /// What the client is told of it.
    pub(crate) about: About,
    /// Cancelled when nobody holds it any more.
    pub(crate) let_go: CancellationToken,
    /// Held for reading by whoever works in the directory: the end of the container is told when nobody does any more.
    pub(crate) in_use: Arc<RwLock<()>>,
    /// What the client leaves out.
    ignore: Mutex<Arc<Ignore>>,
}

/// What the client is told of a directory.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// Whether it was made by attaching.
    pub(crate) created: bool,
    /// Mounts below it.
    pub(crate) submounts: Vec<Submount>,
    /// Whether permissions that its own process does not have are overridden in it.
    pub(crate) overrides: bool,
}

impl About {
    /// Paths that are not synced.
    pub(crate) fn excluded(&self) -> Vec<String> {
        self.submounts.iter().filter(|s| s.excluded.is_some()).map(|s| s.path.clone()).collect()
    }

    /// Whether `path` is not synced.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        self.submounts.iter().any(|s| s.excluded.is_some() && covers(&s.path, path))
    }
}

/// A hold on a directory, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whose key holds it.
    pub(crate) person: Fingerprint,
    /// `user@machine`, as the client says: for persons to read.
    pub(crate) holder: String,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Folder id.
    pub(crate) folder: String,
    /// The container.
    pub(crate) container: ContainerId,
    /// Namespace and name of its pod, for a person; may be empty.
    pub(crate) pod: String,
    /// Path in it, symlinks resolved.
    pub(crate) path: String,
    /// Device and inode.
    pub(crate) identity: Identity,
}

impl Attachment {
    /// From what was opened.
    pub(crate) fn new(id: String, claim: Claim, life: InitProcess, directory: Directory) -> Self {
        let Directory { root, workers, created, submounts, .. } = directory;
        let about = About { created, submounts, overrides: workers.power().exceeds() };
        Self {
            id,
            claim,
            life,
            root,
            workers,
            about,
            let_go: CancellationToken::new(),
            in_use: Arc::default(),
            // The defaults are patterns that can be read: the tree crate's tests say so.
            ignore: Mutex::new(Arc::new(Ignore::with_defaults(&[]).unwrap_or_default())),
        }
    }

    /// What the client leaves out.
    pub(crate) fn ignore(&self) -> Arc<Ignore> {
        Arc::clone(&self.ignore.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nothing at `path` or below it can be of interest, so that it need not be looked at.
    pub(crate) fn is_idle_at(&self, path: &str) -> bool {
        let ignore = self.ignore();
        self.about.excludes(path) || (!ignore.has_negation() && ignore.matches(path))
    }

    /// Remembers what the client leaves out.
    pub(crate) fn set_ignore(&self, ignore: Arc<Ignore>) {
        *self.ignore.lock().unwrap_or_else(PoisonError::into_inner) = ignore;
    }
}

/// What an existing claim means for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clash {
    /// The same thing once more: the existing attachment serves.
    Same,
    /// Another person's.
    Other,
    /// The person's own, under another path or folder.
    Own,
}

/// Whether an existing claim stands in a new one's way.
pub(crate) fn clash(existing: &Claim, wanted: &Claim) -> Option<Clash> {
    let same_container = existing.container == wanted.container;
    let overlap = below(&existing.path, &wanted.path).or(below(&wanted.path, &existing.path)).is_some();
    let overlapping = same_container && overlap;
    let one_directory = existing.identity == wanted.identity;
    if existing.person != wanted.person {
        return (overlapping || one_directory).then_some(Clash::Other);
    }
    if overlapping {
        let same = existing.path == wanted.path && existing.folder == wanted.folder && one_directory;
        return Some(if same { Clash::Same } else { Clash::Own });
    }
    // One volume in two containers is fine within a folder.
    (one_directory && existing.folder != wanted.folder).then_some(Clash::Own)
}

/// Whether an id may name a folder.
pub(crate) fn is_folder_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && id.len() <= 64 && !id.starts_with('.') && id.chars().all(plain)
}

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ksync_keys::Fingerprint;
    use ksync_tree::Identity;

    use super::{Claim, Clash, clash, is_folder_id};
    use crate::container::runtime::{ContainerId, Scheme};

    fn claim(person: &str, folder: &str, container: &str, path: &str, ino: u64) -> Claim {
        Claim {
            person: Fingerprint::of(person.as_bytes()),
            holder: "u@m".into(),
            since: Timestamp::UNIX_EPOCH,
            folder: folder.into(),
            container: ContainerId { scheme: Scheme::Docker, id: container.into() },
            pod: String::new(),
            path: path.into(),
            identity: Identity { dev: 1, ino },
        }
    }

    #[test]
    fn overlaps_are_found_in_both_directions() {
        let held = claim("s", "f", "a", "/code", 1);
        let cases = [
            (claim("s", "f", "a", "/code", 1), Some(Clash::Same)),
            (claim("s", "f", "a", "/code", 2), Some(Clash::Own)),
            (claim("s", "g", "a", "/code", 1), Some(Clash::Own)),
            (claim("s", "f", "a", "/code/sub", 3), Some(Clash::Own)),
            (claim("s", "f", "a", "/", 4), Some(Clash::Own)),
            (claim("s", "f", "a", "/codex", 5), None),
            (claim("s", "f", "b", "/code", 6), None),
            (claim("s", "f", "b", "/data", 1), None),
            (claim("s", "g", "b", "/data", 1), Some(Clash::Own)),
            (claim("t", "g", "a", "/code/sub", 3), Some(Clash::Other)),
            (claim("t", "g", "a", "/", 3), Some(Clash::Other)),
            (claim("t", "g", "b", "/data", 1), Some(Clash::Other)),
            (claim("t", "g", "b", "/code", 2), None),
        ];
        for (wanted, expected) in cases {
            assert_eq!(clash(&held, &wanted), expected, "{wanted:?}");
        }
    }

    #[test]
    fn a_folder_id_is_a_plain_name() {
        assert!(is_folder_id("ksync-3f2a_1.b"));
        for id in ["", "..", ".x", "a/b", "a b", &"x".repeat(65)] {
            assert!(!is_folder_id(id), "{id}");
        }
    }
}
