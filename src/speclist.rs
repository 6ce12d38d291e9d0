//! The specs of `ksync.yaml` at work: what the file says is what is live.
//!
//! A broken file, or a broken spec in it, changes nothing: the last good state keeps running and the board
//! says what is wrong and where. A spec runs only in the cluster that it belongs to.

mod file;
mod pin;

use std::collections::BTreeMap;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use pin::Pins;

use crate::{
    base::BaseFile,
    config::{Config, Loaded, SpecDetails, Store},
    spec::{Shared, Spec},
    status::Status,
};

/// Which cluster a watcher serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The kubeconfig context's name.
    pub context: String,
    /// Hash of the cluster's identity.
    pub hash: String,
}

struct Live {
    details: SpecDetails,
    end: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// The canonical list of specs that run.
pub struct SpecList {
    store: Store,
    pins: Pins,
    cluster: Cluster,
    shared: Shared,
    live: BTreeMap<String, Live>,
}

/// What is to become of a spec in this watcher.
#[derive(Debug, PartialEq, Eq)]
enum Belongs {
    Here,
    Elsewhere,
    /// Its name says here and its stamp says elsewhere; a sentence.
    Neither(String),
}

impl SpecList {
    /// Nothing runs yet.
    pub fn new(store: Store, pins: Pins, cluster: Cluster, shared: Shared) -> Self {
        Self { store, pins, cluster, shared, live: BTreeMap::new() }
    }

    /// Follows the file until `end`, then ends every spec.
    pub async fn run(mut self, end: CancellationToken) {
        let mut changes = file::Changes::of(self.store.path());
        loop {
            self.read().await;
            tokio::select! {
                () = end.cancelled() => break,
                () = changes.next() => {}
            }
        }
        let live = std::mem::take(&mut self.live);
        for spec in live.values() {
            spec.end.cancel();
        }
        for (name, spec) in live {
            self.finish(&name, spec).await;
        }
    }

    async fn read(&mut self) {
        match self.store.load() {
            Ok(loaded) => {
                let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
                self.say((!errors.is_empty()).then(|| errors.join("; ")));
                self.apply(&loaded).await;
            }
            Err(error) => self.say(Some(crate::printer::chain(&error))),
        }
    }

    fn say(&self, error: Option<String>) {
        if let Some(error) = &error {
            warn!(error, "ksync.yaml is not in force as it is");
        }
        self.shared.board.modify(|board| board.config_error = error);
    }

    async fn apply(&mut self, loaded: &Loaded) {
        // A spec that was broken by an edit goes on as it was.
        let broken: Vec<&str> = loaded.errors.iter().filter_map(|error| error.name.as_deref()).collect();
        let wanted: BTreeMap<&str, (&SpecDetails, Belongs)> = loaded
            .config
            .spec
            .iter()
            .map(|spec| (spec.name.as_str(), (spec, self.belongs(spec, &loaded.config))))
            .filter(|(_, (_, belongs))| *belongs != Belongs::Elsewhere)
            .collect();
        let gone: Vec<String> = self
            .live
            .iter()
            .filter(|(name, live)| match wanted.get(name.as_str()) {
                Some((details, belongs)) => {
                    **details != live.details || live.task.is_some() != (*belongs == Belongs::Here)
                }
                None => !broken.contains(&name.as_str()),
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(spec) = self.live.remove(&name) {
                info!(name, "spec ends");
                spec.end.cancel();
                self.finish(&name, spec).await;
                if !loaded.config.spec.iter().any(|spec| spec.name == name) {
                    self.pins.remove(&name);
                    BaseFile::new(&self.shared.bases, &name).remove();
                }
            }
        }
        for (name, (details, belongs)) in wanted {
            if !self.live.contains_key(name) {
                info!(name, "spec begins");
                self.begin(details.clone(), belongs);
            }
        }
    }

    fn begin(&mut self, details: SpecDetails, belongs: Belongs) {
        let (name, end) = (details.name.clone(), CancellationToken::new());
        self.shared.board.add_spec(details.clone());
        let task = if let Belongs::Neither(reason) = belongs {
            self.shared.board.spec(&name, Status::Error, reason);
            None
        } else {
            let spec = Spec { details: details.clone(), shared: self.shared.clone() };
            Some(tokio::spawn(spec.run(end.clone())))
        };
        self.live.insert(name, Live { details, end, task });
    }

    async fn finish(&self, name: &str, spec: Live) {
        if let Some(task) = spec.task
            && let Err(error) = task.await
        {
            warn!(name, %error, "a spec did not end in order");
        }
        self.shared.board.remove_spec(name);
    }

    fn belongs(&self, spec: &SpecDetails, config: &Config) -> Belongs {
        let named = spec.context.as_deref().unwrap_or(&config.context);
        let pinned = match (&spec.cluster, named) {
            (Some(hash), _) => Some(hash.clone()),
            (None, "") => self.pins.pin(&spec.name, &self.cluster),
            (None, _) => None,
        };
        place(&self.cluster, named, pinned.as_deref())
    }
}

fn place(cluster: &Cluster, context: &str, pinned: Option<&str>) -> Belongs {
    match (context == cluster.context, pinned) {
        (_, Some(hash)) if context.is_empty() && hash == cluster.hash => Belongs::Here,
        (true, None) => Belongs::Here,
        (true, Some(hash)) if hash == cluster.hash => Belongs::Here,
        (true, Some(_)) => Belongs::Neither(format!(
            "context `{context}` now points to another cluster than the one this spec was made for; delete the spec \
             and create it again to use it there"
        )),
        _ => Belongs::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::{Belongs, Cluster, place};

    #[test]
    fn a_spec_runs_only_where_it_belongs() {
        let here = Cluster { context: "dev".into(), hash: "1".into() };
        assert_eq!(place(&here, "dev", None), Belongs::Here);
        assert_eq!(place(&here, "dev", Some("1")), Belongs::Here);
        assert_eq!(place(&here, "prod", Some("1")), Belongs::Elsewhere);
        assert_eq!(place(&here, "", Some("1")), Belongs::Here);
        assert_eq!(place(&here, "", Some("2")), Belongs::Elsewhere);
        assert!(matches!(place(&here, "dev", Some("2")), Belongs::Neither(_)));
    }
}
