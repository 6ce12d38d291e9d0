//! Which containers there are of each kind, whether they are attached or not.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Names of the containers that run, by kind.
#[derive(Debug, Default)]
pub(crate) struct Kinds(HashMap<Arc<str>, BTreeSet<Arc<str>>>);

/// Whether the container of this name is of a kind of `family`.
pub(crate) fn is_of(name: &str, family: &str) -> bool {
    name.split_once(' ').is_some_and(|(_, kind)| kind.starts_with(family))
}

/// Names of the kinds of a `family` that are not among `those`.
pub(crate) fn gone<'n>(
    names: impl Iterator<Item = &'n Arc<str>>,
    family: &str,
    those: [&BTreeSet<Arc<str>>; 2],
) -> Vec<Arc<str>> {
    let gone = names.filter(|name| is_of(name, family) && those.iter().all(|some| !some.contains(*name)));
    gone.cloned().collect()
}

impl Kinds {
    /// These run of a kind, and no others of its family.
    pub(crate) fn set_running(&mut self, kind: Arc<str>, family: &str, names: BTreeSet<Arc<str>>) {
        self.0.retain(|kind, _| !kind.starts_with(family));
        self.0.insert(kind, names);
    }

    /// The kinds of which there are containers, and of each `is` true.
    pub(crate) fn all_of_which(&self, is: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let all = self.0.iter().filter(|(_, names)| !names.is_empty() && names.iter().all(|name| is(name)));
        all.map(|(kind, _)| Arc::clone(kind)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Kinds, is_of};

    #[test]
    fn a_kind_counts_when_all_of_it_does() {
        let mut kinds = Kinds::default();
        let names = |names: &[&str]| names.iter().map(|name| crate::name(name, "main/2")).collect();
        kinds.set_running("main/1".into(), "main/", names(&["a"]));
        kinds.set_running("main/2".into(), "main/", names(&["a", "b"]));
        kinds.set_running("other/1".into(), "other/", names(&[]));
        assert!(is_of(&crate::name("a", "main/2"), "main/") && !is_of("a mainly/2", "main/"));
        assert_eq!(kinds.all_of_which(|name| name.starts_with('a')), Vec::<Arc<str>>::new());
        assert_eq!(kinds.all_of_which(|_| true), [Arc::from("main/2")]);
    }
}
