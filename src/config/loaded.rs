//! What a `ksync.yaml` holds: the specs that can be used, and the others with what is wrong and where.

use std::fmt;

use super::{position::Position, spec::SpecDetails};

/// The typed view of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// Kept for the old ksync, unused.
    pub apikey: String,
    /// For specs without their own; may be empty.
    pub context: String,
    /// For the watcher's log; may be empty.
    pub log_level: String,
    /// For specs without their own; may be empty.
    pub namespace: String,
    /// Kept for the old ksync, unused.
    pub port: Option<u64>,
    /// The good ones, in the file's order.
    pub spec: Vec<SpecDetails>,
}

impl Config {
    /// The namespace that a spec is in: its own, else the file's, else `context`'s.
    pub(crate) fn namespace_of<'a>(&'a self, spec: &'a SpecDetails, context: &'a str) -> &'a str {
        [&spec.namespace, &self.namespace]
            .into_iter()
            .find(|name| !name.is_empty())
            .map_or(context, |name| name)
    }
}

/// A spec that can't be used; the others can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpecError {
    /// Position in the list, from 0.
    pub index: usize,
    /// The spec's name, where it has one.
    pub name: Option<String>,
    /// Where.
    pub place: Position,
    /// What is wrong, one phrase.
    pub message: String,
    /// A good one has its name: nobody can tell which of the two was meant to have it.
    pub duplicate: bool,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "spec `{name}` at {}: {}", self.place, self.message),
            None => write!(f, "spec {} at {}: {}", self.index + 1, self.place, self.message),
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// What can be used.
    pub config: Config,
    /// What can't.
    pub errors: Vec<SpecError>,
}
