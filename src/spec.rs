//! One spec at work: watches the pods that match, and makes and removes their services.
//!
//! Invariant: the board's entry of a spec is written by its own task alone, and a failure of one spec stays
//! with it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use ksync_engine::Healings;
use kube::{
    Api, Client,
    runtime::{reflector, watcher},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};

use crate::{
    cluster,
    config::{Direction, SpecDetails},
    folder::{Folder, TakeOver},
    kind::{ContainerKind, KindFile},
    local::{LocalFolder, LocalFolders, Registration},
    node::Nodes,
    reload::{Policy, Reloads},
    status::{BoardTx, Reloading, ServiceState, Standing, Status},
    targets::{End, RemoteContainer, ServiceList, Targets, targets},
};
use ksync_common::Backoff;

/// Entries that can't be synced and are named.
const MOST_WARNINGS: usize = 20;

/// The warning where there are more directories, or watchers, than the system allows.
const UNWATCHED: &str = "the system lets watch no more directories: changes in some of them are found only every 10 s (leave \
                         directories out with `ignore`, or raise `fs.inotify.max_user_watches`; where many programs watch \
                         files, `fs.inotify.max_user_instances`)";

/// A watch is renewed this often, so that a dead one is noticed: a laptop sleeps.
const WATCH_LIMIT_S: u32 = 60;

/// How soon a broken watch is begun again, and how late at last.
const WATCH_AGAIN: Duration = Duration::from_millis(500);
const WATCH_AGAIN_AT_LAST: Duration = Duration::from_secs(3);

/// A watch that could not be begun the last time is believed in when it lasts as long.
const PROVEN: Duration = Duration::from_secs(2);

/// What all specs of a watcher share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The cluster.
    pub client: Client,
    /// Namespace of specs that name none.
    pub namespace: String,
    /// Connections to nodes.
    pub nodes: Arc<Nodes>,
    /// Local folders.
    pub locals: Arc<LocalFolders>,
    /// Which specs take their directories over.
    pub take_over: TakeOver,
    /// Where the kinds of the specs' containers are noted.
    pub kinds: PathBuf,
    /// Containers whose apps can be reloaded.
    pub reloads: Arc<Reloads>,
    /// Where everything is reported.
    pub board: BoardTx,
}

/// A spec with what it needs to run.
pub(crate) struct Spec {
    /// As in ksync.yaml, with the namespace that it is in.
    pub details: SpecDetails,
    /// What all specs share.
    pub shared: Shared,
    reloading: Arc<Policy>,
}

impl Spec {
    /// One that does not run yet.
    pub(crate) fn new(details: SpecDetails, shared: Shared) -> Self {
        Self { reloading: Policy::of(&details), details, shared }
    }

    /// Runs the spec until `end`, then lets go of every container.
    pub(crate) async fn run(self, end: CancellationToken) {
        let span = info_span!("spec", name = self.details.name);
        let mut services = ServiceList::default();
        let kind = KindFile::new(&self.shared.kinds, &self.details.name, self.meaning()).load_or_create();
        let work = async {
            let Some(local) = end.run_until_cancelled(self.open_local()).await else { return };
            let both = async {
                tokio::join!(self.follow_pods(&local, &kind, &mut services), self.warn(&local));
            };
            let _ = end.run_until_cancelled(Box::pin(both)).await;
            services.close().await;
        };
        Box::pin(work.instrument(span)).await;
    }

    /// Names what is here and can't be synced, and that the system watches only some of the directories, while they are so;
    /// and tells what had to be mended here.
    async fn warn(&self, local: &LocalFolder) {
        let (mut state, mut here) = (local.engine.state(), local.state());
        loop {
            let (skipped, healings) = {
                let state = state.borrow_and_update();
                (Arc::clone(&state.skipped), state.healings)
            };
            let unwatched = here.borrow_and_update().unwatched;
            let skipped = skipped.iter().take(MOST_WARNINGS);
            let warnings = skipped.map(|(path, reason)| format!("not synced: {path} ({reason})"));
            let warnings: Vec<String> = warnings.chain(unwatched.then(|| UNWATCHED.to_owned())).collect();
            self.shared.board.modify_if(|board| {
                let Some(spec) = board.specs.get_mut(&self.details.name) else { return false };
                let news = (&spec.warnings, spec.healings) != (&warnings, healings);
                (spec.warnings, spec.healings) = (warnings, healings);
                news
            });
            let changed = tokio::select! {
                changed = state.changed() => changed,
                changed = here.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// What this spec means: these paths of this target, on this file system. That tells a directory from the mount point that
    /// it hides, and one that a build has made anew is still it.
    fn meaning(&self) -> String {
        let d = &self.details;
        let system = rustix::fs::statvfs(&d.localpath).map_or(0, |stat| stat.f_fsid);
        let parts = [&d.localpath, &d.remotepath, self.namespace(), &d.selector, &d.pod, &d.containername]
            .map(|s| s as &str);
        format!("{} {system:x}", parts.join("\u{1f}"))
    }

    /// Opens the local path, again and again until it works: a disk may be mounted later.
    async fn open_local(&self) -> Arc<LocalFolder> {
        let path = PathBuf::from(&self.details.localpath);
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        loop {
            match self.shared.locals.get(&path, &self.details.ignore).await {
                Ok(local) => return local,
                Err(error) => self.report(Status::Error, ksync_common::chain(&error)),
            }
            backoff.wait().await;
        }
    }

    /// Follows the pods, from a new list after each time that the watch breaks: only so it is seen that it goes again.
    async fn follow_pods(
        &self,
        local: &Arc<LocalFolder>,
        kind: &ContainerKind,
        services: &mut ServiceList<Registration>,
    ) {
        self.report(Status::Waiting, "looking for pods");
        let mut backoff = Backoff::new(WATCH_AGAIN, WATCH_AGAIN_AT_LAST);
        let mut doubtful = false;
        loop {
            let error = self.follow_watch(local, kind, services, doubtful, &mut backoff).await;
            doubtful = false;
            if let Some(error) = error.filter(|error| !cluster::is_expired(error)) {
                doubtful = matches!(error, watcher::Error::WatchStartFailed(_));
                self.watch_failed(&error, services);
            }
            backoff.wait().await;
        }
    }

    /// Follows the pods until the watch breaks, and returns why. A `doubtful` one could be listed and not watched the
    /// last time: that it goes now is said when it went for a while.
    async fn follow_watch(
        &self,
        local: &Arc<LocalFolder>,
        kind: &ContainerKind,
        services: &mut ServiceList<Registration>,
        mut doubtful: bool,
        backoff: &mut Backoff,
    ) -> Option<watcher::Error> {
        let details = &self.details;
        let pods: Api<Pod> = Api::namespaced(self.shared.client.clone(), self.namespace());
        let mut config = watcher::Config::default().timeout(WATCH_LIMIT_S);
        if details.selector.is_empty() {
            config = config.fields(&format!("metadata.name={}", details.pod));
        } else {
            config = config.labels(&details.selector);
        }
        let (store, writer) = reflector::store();
        let mut events = std::pin::pin!(reflector(writer, watcher(pods, config)));
        let mut complete = false;
        loop {
            let wait = if complete && doubtful { PROVEN } else { Duration::MAX };
            match tokio::time::timeout(wait, events.next()).await {
                Ok(None) => return None,
                Ok(Some(Ok(watcher::Event::Init | watcher::Event::InitApply(_)))) => continue,
                Ok(Some(Ok(watcher::Event::InitDone))) => complete = true,
                Err(_) | Ok(Some(Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)))) => {
                    doubtful = false;
                }
                Ok(Some(Err(error))) => return Some(error),
            }
            if !complete {
                continue;
            }
            let pods = store.state();
            let found = targets(pods.iter().map(|pod| &**pod), &details.containername);
            let leaving = services.leave(&found);
            local.running(kind, found.running.iter().map(|container| &*container.id), &leaving).await;
            self.reloading.ready(found.ready.clone());
            services.follow(&found, |container, end| {
                (local.two_way.register(&container.id), self.start(local, kind, container, end))
            });
            if !doubtful {
                backoff.reset();
                self.report_targets(&found);
            }
        }
    }

    fn start(
        &self,
        local: &Arc<LocalFolder>,
        kind: &ContainerKind,
        container: &RemoteContainer,
        end: End,
    ) -> impl Future<Output = ()> + Send + use<> {
        let state = ServiceState {
            pod: container.pod.clone(),
            container: container.name.clone(),
            container_id: container.id.clone(),
            node: container.node.clone(),
            standing: Standing::new(Status::Attaching, ""),
            last_contact: None,
            as_of: None,
            healings: Healings::default(),
            direction: Direction::ToContainer,
            excluded: Vec::new(),
            created: false,
            overrides: false,
            percent: 0,
            last_edit: None,
            reload: Reloading::default(),
        };
        let folder = Folder {
            spec: self.details.name.clone(),
            container: container.clone(),
            remote_path: self.details.remotepath.clone(),
            direction: self.details.way(),
            initial: self.details.initial.unwrap_or_default(),
            terms: self.details.terms(),
            reloading: Arc::clone(&self.reloading),
            reloads: Arc::clone(&self.shared.reloads),
            nodes: Arc::clone(&self.shared.nodes),
            local: Arc::clone(local),
            kind: Arc::clone(&kind.name),
            take_over: self.shared.take_over.of(&self.details.name),
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
            self.report(Status::Waiting, self.details.nobody());
        } else {
            self.report(Status::Watching, "");
        }
    }

    /// The pods that are known stay as they are; their connections tell for themselves whether they live. What the
    /// cluster refuses is this spec's alone, and new pods are not seen any more.
    fn watch_failed(&self, error: &watcher::Error, services: &ServiceList<Registration>) {
        let sentence = cluster::explain_watch(error);
        warn!(error = sentence, "watch pods");
        if cluster::is_refusal(error) || services.is_empty() {
            self.report(Status::Error, sentence);
        }
    }

    fn namespace(&self) -> &str {
        &self.details.namespace
    }

    fn report(&self, status: Status, reason: impl Into<String>) {
        self.shared.board.spec(&self.details.name, status, reason);
    }
}
