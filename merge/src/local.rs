//! The local side, one for all containers of a local directory.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use crate::state::{State, same};
use ksync_tree::Entry;

/// What is here, by path.
#[derive(Debug, Clone, Default)]
pub struct Local(BTreeMap<Arc<str>, Arc<Entry>>);

/// That something changed here. Each container hears of it ([`crate::Container::changed_here`]).
#[derive(Debug, Clone)]
pub struct Change {
    pub(crate) path: Arc<str>,
    pub(crate) old: State,
}

impl Local {
    /// What stands at `path`.
    pub fn get(&self, path: &str) -> State {
        self.0.get(path).cloned()
    }

    /// What stands at `path` from now on; none where that is no change.
    pub fn set(&mut self, path: &str, now: State) -> Option<Change> {
        let old = self.get(path);
        if same(&old, &now) && old.is_some() == now.is_some() {
            // The newest copy, whose directory's time may be another.
            if let Some(now) = now {
                self.0.insert(Arc::from(path), now);
            }
            return None;
        }
        let path: Arc<str> =
            self.0.get_key_value(path).map_or_else(|| Arc::from(path), |(path, _)| Arc::clone(path));
        match now {
            Some(entry) => self.0.insert(Arc::clone(&path), entry),
            None => self.0.remove(&path),
        };
        Some(Change { path, old })
    }

    /// All that is here, in byte order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Entry>)> {
        self.0.iter()
    }

    /// What is below the directory `path`.
    pub(crate) fn below<'l>(
        &'l self,
        path: &str,
    ) -> impl Iterator<Item = (&'l Arc<str>, &'l Arc<Entry>)> + use<'l> {
        below(&self.0, path)
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
