//! The specs of `ksync.yaml` at work: what the file says is what is live.
//!
//! A broken file, or a broken spec in it, changes nothing: the last good state keeps running and the board
//! says what is wrong and where. So do two specs of one name: neither is taken for the one that ran under it. A spec runs only in the cluster that it belongs to.

mod belongs;
mod cluster_pin;
mod file;
mod running_specs;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use belongs::Belongs;
pub(crate) use belongs::Cluster;
pub(crate) use cluster_pin::ClusterPins;

use crate::{
    config::{Config, Loaded, SpecDetails, Store},
    spec::{Shared, Spec},
    status::Status,
};
use running_specs::RunningSpecs;

/// The canonical list of specs that run.
pub(crate) struct SpecList {
    store: Store,
    pins: ClusterPins,
    cluster: Cluster,
    shared: Shared,
    running: RunningSpecs,
}

impl SpecList {
    /// Nothing runs yet.
    pub(crate) fn new(store: Store, pins: ClusterPins, cluster: Cluster, shared: Shared) -> Self {
        Self { store, pins, cluster, shared, running: RunningSpecs::default() }
    }

    /// Follows the file until `end`, then ends every spec.
    pub(crate) async fn run(mut self, end: CancellationToken) {
        let mut changes = file::Changes::of(self.store.path());
        let follow = async {
            loop {
                self.read().await;
                changes.next().await;
            }
        };
        let _: Option<()> = end.run_until_cancelled(follow).await;
        self.running.close().await;
    }

    async fn read(&mut self) {
        let lost = |loaded: &Loaded| self.running.names().any(|name| !mentions(loaded, name));
        match file::believed(&self.store, lost).await {
            Ok(loaded) => {
                let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
                self.say((!errors.is_empty()).then(|| errors.join("; ")));
                self.apply(&loaded);
            }
            Err(error) => self.say(Some(ksync_common::chain(&error))),
        }
    }

    fn say(&self, error: Option<String>) {
        if let Some(error) = &error {
            warn!(error, "ksync.yaml is not in force as it is");
        }
        self.shared.board.modify(|board| board.config_error = error);
    }

    fn apply(&mut self, loaded: &Loaded) {
        let config = &loaded.config;
        let shared = &self.shared;
        let wanted = config.spec.iter().map(|spec| {
            let namespace = config.namespace_of(spec, &shared.namespace).to_owned();
            (SpecDetails { namespace, ..spec.clone() }, self.belongs(spec, config))
        });
        let wanted = wanted.filter(|(_, belongs)| *belongs != Belongs::Elsewhere);
        let runs = |name: &str| self.running.names().any(|live| live == name);
        let unclear = |name: &str| names_twice(loaded, name) && runs(name);
        let wanted = wanted.filter(|(spec, _)| !unclear(&spec.name)).collect();
        // A spec that was broken by an edit goes on as it was.
        let broken = |name: &str| names_broken(loaded, name);
        self.running
            .apply(wanted, broken, |details, belongs, end| work(shared.clone(), details, belongs, end));
    }

    fn belongs(&self, spec: &SpecDetails, config: &Config) -> Belongs {
        let named = spec.context.as_deref().unwrap_or(&config.context);
        let stamp = match &spec.cluster {
            Some(hash) => hash.clone(),
            // Only the watcher of a context may say which cluster that context is.
            None if !named.is_empty() && named != self.cluster.context => return Belongs::Elsewhere,
            None => match self.pins.pin(&spec.name, named, &self.cluster) {
                Ok(hash) => hash,
                Err(error) => return Belongs::Unknown(ksync_common::chain(&error)),
            },
        };
        belongs::belongs(&self.cluster, named, &stamp)
    }
}

/// A spec's life on the board, from its beginning to its end.
async fn work(shared: Shared, details: SpecDetails, belongs: Belongs, end: CancellationToken) {
    let entry = Entry::new(&shared, &details);
    match belongs {
        Belongs::Neither(reason) | Belongs::Unknown(reason) => {
            entry.shared.board.spec(&entry.name, Status::Error, reason);
            end.cancelled().await;
        }
        Belongs::Here | Belongs::Elsewhere => {
            // A defect in one spec must not leave its entry on the board.
            let spec = Spec::new(details, shared.clone());
            spec.run(end).await;
        }
    }
}

/// A spec's entry on the board, taken off when its work is over, however it ended.
struct Entry {
    shared: Shared,
    name: String,
}

impl Entry {
    fn new(shared: &Shared, details: &SpecDetails) -> Self {
        shared.board.add_spec(details.clone());
        Self { shared: shared.clone(), name: details.name.clone() }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.board.remove_spec(&self.name);
    }
}

/// Whether the file has the spec, sound or broken.
fn mentions(loaded: &Loaded, name: &str) -> bool {
    loaded.config.spec.iter().any(|spec| spec.name == name) || names_broken(loaded, name)
}

/// Whether the spec is among the broken ones; one without a name of its own may be any.
fn names_broken(loaded: &Loaded, name: &str) -> bool {
    let may_be = |broken: Option<&str>| broken.is_none_or(|broken| broken == name);
    loaded.errors.iter().any(|error| error.duplicate || may_be(error.name.as_deref()))
}

/// Whether several specs have the name.
fn names_twice(loaded: &Loaded, name: &str) -> bool {
    loaded.errors.iter().any(|error| error.duplicate && error.name.as_deref() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::{mentions, names_broken, names_twice};
    use crate::config::Draft;

    /// `b` was renamed to `a`: it goes on, and so does the old `a`, whichever of the two comes first now.
    #[test]
    fn of_two_specs_of_one_name_neither_is_believed() {
        let item = |name: &str, path: &str| {
            format!("- name: {name}\n  pod: p\n  localpath: {path}\n  remotepath: /r\n")
        };
        let load = |text: &str| Draft::parse("k".as_ref(), text).unwrap().loaded().clone();
        let loaded = load(&format!("spec:\n{}{}{}", item("a", "/b"), item("a", "/a"), item("c", "/c")));
        assert!(names_broken(&loaded, "b") && mentions(&loaded, "b"));
        assert!(names_twice(&loaded, "a") && !names_twice(&loaded, "c"));
        let other = load(&format!("spec:\n{}- name: a\n", item("a", "/a")));
        assert!(names_twice(&other, "a"), "whatever else is wrong with the second");
        let broken = load(&format!("spec:\n{}- name: b\n", item("a", "/a")));
        assert!(!names_twice(&broken, "a") && !names_broken(&broken, "a") && !names_broken(&broken, "c"));
    }

    #[test]
    fn a_broken_spec_without_a_name_may_be_any() {
        let load = |text: &str| Draft::parse("k".as_ref(), text).unwrap().loaded().clone();
        let good = "spec:\n- name: a\n  pod: p\n  localpath: /l\n  remotepath: /r\n";
        for (more, broken) in [("- name: b\n", false), ("- name:\n  pod: p\n", true), ("- just text\n", true)]
        {
            let loaded = load(&format!("{good}{more}"));
            assert_eq!(loaded.errors.len(), 1, "{more}");
            assert!(mentions(&loaded, "a"));
            assert_eq!((mentions(&loaded, "c"), names_broken(&loaded, "c")), (broken, broken), "{more}");
        }
    }
}
