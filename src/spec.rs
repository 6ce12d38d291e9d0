//! One spec at work: watches the pods that match, and makes and removes their services.
//!
//! Invariant: the board's entry of a spec is written by its own task alone, and a failure of one spec stays
//! with it.

mod keeper;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, reflector, watcher},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};

use keeper::Keeper;

use crate::{
    backoff::Backoff,
    base::{Base, BaseFile},
    cluster,
    config::SpecDetails,
    folder::Folder,
    local::{LocalFolder, LocalFolders},
    node::Nodes,
    service::{RemoteContainer, ServiceList, Targets, targets},
    status::{BoardTx, ServiceState, Standing, Status},
};

/// A watch is renewed this often, so that a dead one is noticed: a laptop sleeps.
const WATCH_LIMIT_S: u32 = 60;

/// What all specs of a watcher share.
#[derive(Clone)]
pub struct Shared {
    /// The cluster.
    pub client: Client,
    /// Namespace of specs that name none.
    pub namespace: String,
    /// Connections to nodes.
    pub nodes: Arc<Nodes>,
    /// Local folders.
    pub locals: Arc<LocalFolders>,
    /// Where the bases are kept.
    pub bases: PathBuf,
    /// Where everything is reported.
    pub board: BoardTx,
}

/// A spec with what it needs to run.
pub struct Spec {
    /// As in ksync.yaml.
    pub details: SpecDetails,
    /// What all specs share.
    pub shared: Shared,
}

impl Spec {
    /// Runs the spec until `end`, then lets go of every container.
    pub async fn run(self, end: CancellationToken) {
        let span = info_span!("spec", name = self.details.name);
        let mut services = ServiceList::default();
        let file = BaseFile::new(&self.shared.bases, &self.details.name, self.base_of());
        let base_tx = watch::Sender::new(file.load().map(Arc::new));
        let work = async {
            let Some(local) = end.run_until_cancelled(self.open_local()).await else { return };
            let base_rx = base_tx.subscribe();
            let mut keeper = Keeper::new(&self.details.name, &self.shared.board, &local, &file, &base_tx);
            let both = async {
                tokio::join!(self.follow_pods(&local, &mut services, &base_rx), keeper.follow());
            };
            let _ = end.run_until_cancelled(Box::pin(both)).await;
            keeper.keep(Duration::ZERO).await;
            services.close().await;
        };
        Box::pin(work.instrument(span)).await;
    }

    /// What a base must be of to count for this spec: the same directories of the same target. The inode tells a
    /// directory from the empty mount point that it hides.
    fn base_of(&self) -> String {
        use std::os::unix::fs::MetadataExt;
        let d = &self.details;
        let inode = std::fs::metadata(&d.localpath).map_or(0, |meta| meta.ino());
        let parts = [&d.localpath, &d.remotepath, self.namespace(), &d.selector, &d.pod, &d.containername]
            .map(|s| s as &str);
        format!("{} {inode}", parts.join("\u{1f}"))
    }

    /// Opens the local path, again and again until it works: a disk may be mounted later.
    async fn open_local(&self) -> Arc<LocalFolder> {
        let path = PathBuf::from(&self.details.localpath);
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        loop {
            match self.shared.locals.get(&path, &self.details.ignore).await {
                Ok(local) => return local,
                Err(error) => self.report(Status::Error, crate::printer::chain(&error)),
            }
            backoff.wait().await;
        }
    }

    async fn follow_pods(
        &self,
        local: &Arc<LocalFolder>,
        services: &mut ServiceList,
        base: &watch::Receiver<Option<Arc<Base>>>,
    ) {
        let details = &self.details;
        let pods: Api<Pod> = Api::namespaced(self.shared.client.clone(), self.namespace());
        let mut config = watcher::Config::default().timeout(WATCH_LIMIT_S);
        if details.selector.is_empty() {
            config = config.fields(&format!("metadata.name={}", details.pod));
        } else {
            config = config.labels(&details.selector);
        }
        let (store, writer) = reflector::store();
        let events = reflector(writer, watcher(pods, config)).default_backoff();
        let mut events = std::pin::pin!(events);
        self.report(Status::Waiting, "looking for pods");
        let mut complete = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => continue,
                Ok(watcher::Event::InitDone) => complete = true,
                Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => {}
                Err(error) => {
                    self.watch_failed(&error, services);
                    continue;
                }
            }
            self.shared.board.modify(|board| board.cluster_error = None);
            if complete {
                let pods = store.state();
                let found = targets(pods.iter().map(|pod| &**pod), &details.containername);
                let ids = found.running.iter().map(|container| container.id.clone()).collect();
                local.running(&details.name, ids);
                services.follow(&found.running, |container, end| self.start(local, base, container, end));
                self.report_targets(&found);
            }
        }
    }

    fn start(
        &self,
        local: &Arc<LocalFolder>,
        base: &watch::Receiver<Option<Arc<Base>>>,
        container: &RemoteContainer,
        end: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let state = ServiceState {
            pod: container.pod.clone(),
            container: container.name.clone(),
            container_id: container.id.clone(),
            node: container.node.clone(),
            standing: Standing::new(Status::Attaching, ""),
            last_contact: None,
            role: "",
            two_way: false,
            excluded: Vec::new(),
            percent: 0,
        };
        let folder = Folder {
            spec: self.details.name.clone(),
            container: container.clone(),
            remote_path: self.details.remotepath.clone(),
            direction: self.details.direction.unwrap_or_default(),
            nodes: Arc::clone(&self.shared.nodes),
            local: Arc::clone(local),
            base: base.clone(),
            status: self.shared.board.service(&self.details.name, state),
        };
        let span =
            info_span!("service", pod = container.pod, container = container.name, node = container.node);
        folder.run(end).instrument(span)
    }

    fn report_targets(&self, found: &Targets) {
        if let Some(error) = found.errors.first() {
            self.report(Status::Error, error.clone());
        } else if let Some(waiting) = found.waiting.first() {
            // Others may run: then this is the worst of them.
            self.report(Status::Waiting, waiting.clone());
        } else if found.running.is_empty() {
            self.report(Status::Waiting, self.nobody());
        } else {
            self.report(Status::Watching, "");
        }
    }

    fn nobody(&self) -> String {
        let (details, namespace) = (&self.details, self.namespace());
        if details.selector.is_empty() {
            format!("no pod `{}` in namespace `{namespace}`", details.pod)
        } else {
            format!("no pod matches `{}` in namespace `{namespace}`", details.selector)
        }
    }

    /// The pods that are known stay as they are; their connections tell for themselves whether they live.
    fn watch_failed(&self, error: &watcher::Error, services: &ServiceList) {
        let sentence = cluster::explain_watch(error);
        warn!(error = sentence, "watch pods");
        self.shared.board.modify(|board| board.cluster_error = Some(sentence.clone()));
        if services.is_empty() {
            self.report(Status::Error, sentence);
        }
    }

    fn namespace(&self) -> &str {
        if self.details.namespace.is_empty() { &self.shared.namespace } else { &self.details.namespace }
    }

    fn report(&self, status: Status, reason: impl Into<String>) {
        self.shared.board.spec(&self.details.name, status, reason);
    }
}
