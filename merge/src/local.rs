//! The local side, one for all containers of a local directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use crate::digest::Digest;
use crate::state::{State, same};
use ksync_tree::{Entry, covers, is_below};

/// What is here, by path.
#[derive(Debug, Clone, Default)]
pub struct Local {
    entries: BTreeMap<Arc<str>, Arc<Entry>>,
    unknown: Unknown,
    digest: Digest,
}

/// Paths that can't be looked at: what is there, and below, is neither known to be there nor to be gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown(BTreeSet<String>);

impl Unknown {
    /// Of these paths.
    pub fn new(paths: impl IntoIterator<Item = String>) -> Self {
        Self(paths.into_iter().collect())
    }

    /// Whether nothing is known of `path`, or of something below it.
    pub(crate) fn concerns(&self, path: &str) -> bool {
        self.0.iter().any(|unknown| covers(unknown, path) || is_below(path, unknown))
    }
}

/// That something changed here. Each container hears of it ([`crate::Container::changed_here`]).
#[derive(Debug, Clone)]
pub struct Change {
    pub(crate) path: Arc<str>,
    pub(crate) old: State,
}

impl Local {
    /// What stands at `path`.
    pub fn get(&self, path: &str) -> State {
        self.entries.get(path).cloned()
    }

    /// What stands at `path` from now on; none where that is no change.
    pub fn set(&mut self, path: &str, now: State) -> Option<Change> {
        let old = self.get(path);
        if same(&old, &now) && old.is_some() == now.is_some() {
            // The newest copy, whose directory's time may be another.
            if let Some(now) = now {
                self.entries.insert(Arc::from(path), now);
            }
            return None;
        }
        let path: Arc<str> =
            self.entries.get_key_value(path).map_or_else(|| Arc::from(path), |(path, _)| Arc::clone(path));
        if let Some(old) = &old {
            self.digest.remove(&path, old);
        }
        match now {
            Some(entry) => {
                self.digest.add(&path, &entry);
                self.entries.insert(Arc::clone(&path), entry)
            }
            None => self.entries.remove(&path),
        };
        Some(Change { path, old })
    }

    /// What can't be looked at here, from now on.
    pub fn set_unknown(&mut self, unknown: Unknown) -> bool {
        std::mem::replace(&mut self.unknown, unknown) != self.unknown
    }

    /// Whether nothing is known of `path`, or of something below it.
    pub(crate) fn is_unknown(&self, path: &str) -> bool {
        self.unknown.concerns(path)
    }

    /// The sum of all that is here.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many entries are here.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is here.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All that is here, in byte order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Entry>)> {
        self.entries.iter()
    }

    /// What is below the directory `path`.
    pub(crate) fn below<'l>(
        &'l self,
        path: &str,
    ) -> impl Iterator<Item = (&'l Arc<str>, &'l Arc<Entry>)> + use<'l> {
        below(&self.entries, path)
    }
}

/// The keys of `map` that are below the directory `path`.
pub(crate) fn below<'m, V>(
    map: &'m BTreeMap<Arc<str>, V>,
    path: &str,
) -> impl Iterator<Item = (&'m Arc<str>, &'m V)> + use<'m, V> {
    let from: Arc<str> = format!("{path}/").into();
    // `0` is the byte after `/`.
    let to: Arc<str> = format!("{path}0").into();
    map.range((Bound::Included(from), Bound::Excluded(to)))
}
