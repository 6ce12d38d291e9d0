//! What a watcher answers, as the commands read it: plain data, and how it is read off the wire.
//!
//! Invariant: an answer of a watcher of another version reads too. A status stays the word that it came as, and what an
//! older watcher does not say is none.

use std::time::Duration;

use jiff::Timestamp;
use ksync_engine::Healings;
use ksync_proto::watch::{
    AnswerReply, ContainerReload, Direction as WireDirection, Healings as WireHealings, LastEdit,
    ServiceStatus, SpecStatus, StatusReply, VersionReply, container_reload,
};

use crate::{config::Direction, reload::Outcome, status::Edit};

/// A running watcher.
#[derive(Debug)]
pub(crate) struct WatcherView {
    /// Strict semver.
    pub version: String,
    /// Of its process.
    pub pid: u32,
    /// Of the kubeconfig.
    pub context: String,
}

/// Everything that a watcher runs.
#[derive(Debug)]
pub(crate) struct BoardView {
    /// By name.
    pub specs: Vec<SpecView>,
    /// Why the newest ksync.yaml is not in force.
    pub config_error: Option<String>,
    /// Why the cluster can't be reached.
    pub cluster_error: Option<String>,
}

/// A spec as it runs.
#[derive(Debug)]
pub(crate) struct SpecView {
    /// Its name.
    pub name: String,
    /// Of the kubeconfig.
    pub context: String,
    /// The pods' namespace.
    pub namespace: String,
    /// Labels of the pods; empty where one pod is meant by its name.
    pub selector: String,
    /// The pod that is meant by its name, or empty.
    pub pod: String,
    /// The container's name; empty where each pod has only one.
    pub container: String,
    /// Absolute.
    pub local_path: String,
    /// Absolute, in the container.
    pub remote_path: String,
    /// Whether its apps are reloaded.
    pub reload: bool,
    /// As in ksync.yaml; none where an older watcher does not say.
    pub reload_mode: Option<String>,
    /// The word for all of it.
    pub status: String,
    /// A sentence; empty when there is nothing to add.
    pub reason: String,
    /// When the word last changed.
    pub since: Option<Timestamp>,
    /// Its containers.
    pub services: Vec<ServiceView>,
    /// Things worth saying that stop nothing.
    pub warnings: Vec<String>,
    /// What had to be mended here; none where an older watcher does not say.
    pub healings: Option<Healings>,
}

/// A container of a spec; the fields are those of [`crate::status::ServiceState`].
#[derive(Debug)]
pub(crate) struct ServiceView {
    pub pod: String,
    pub container: String,
    pub container_id: String,
    pub node: String,
    pub status: String,
    pub reason: String,
    pub since: Option<Timestamp>,
    pub last_contact: Option<Timestamp>,
    /// As of when both sides were last found to hold the same.
    pub as_of: Option<Timestamp>,
    /// None where an older watcher does not say.
    pub healings: Option<Healings>,
    /// None where an older watcher does not say.
    pub direction: Option<Direction>,
    pub excluded: Vec<String>,
    pub created: bool,
    /// Whether it is written whatever its permissions.
    pub overrides: bool,
    pub percent: u32,
    pub reloads: u64,
    pub last_reload: Option<Timestamp>,
    pub reload_note: String,
    pub last_edit: Option<Edit>,
}

/// What became of the reload of one container.
#[derive(Debug)]
pub(crate) struct ReloadView {
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// Never [`Outcome::Unknown`] but from a watcher that says nothing.
    pub outcome: Outcome,
}

/// What an answer was given to; nothing of all when nothing waited.
#[derive(Debug)]
pub(crate) struct AnswerView {
    /// Files that containers had deleted: gone here now, or put back there.
    pub deletions: u64,
    /// Files that were in sync and were gone here: deleted in the containers now, or put back here.
    pub gone_here: u64,
    /// What only a container has: on its way here when the answer was yes.
    pub first_pull: Option<FirstPullView>,
    /// What did not come here unasked, in words: on its way here when the answer was yes.
    pub unasked: Option<String>,
    /// Of that, how many entries something stands here for: put back into the container when the answer was no.
    pub put_back: u64,
    /// Paths that hold all that only a container has, and nothing that is here; each stands for all below it.
    pub tops: Vec<String>,
}

/// Files that only a container has.
#[derive(Debug)]
pub(crate) struct FirstPullView {
    /// Files and symlinks, at least one.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl From<VersionReply> for WatcherView {
    fn from(reply: VersionReply) -> Self {
        Self { version: reply.version, pid: reply.pid, context: reply.context }
    }
}

impl From<StatusReply> for BoardView {
    fn from(reply: StatusReply) -> Self {
        Self {
            specs: reply.specs.into_iter().map(SpecView::from).collect(),
            config_error: said(reply.config_error),
            cluster_error: said(reply.cluster_error),
        }
    }
}

fn healings(healings: WireHealings) -> Healings {
    let WireHealings { missed, recounted } = healings;
    Healings { missed, recounted }
}

impl From<SpecStatus> for SpecView {
    fn from(spec: SpecStatus) -> Self {
        Self {
            name: spec.name,
            context: spec.context,
            namespace: spec.namespace,
            selector: spec.selector,
            pod: spec.pod,
            container: spec.container,
            local_path: spec.local_path,
            remote_path: spec.remote_path,
            reload: spec.reload,
            reload_mode: said(spec.reload_mode),
            status: spec.status,
            reason: spec.reason,
            since: time(spec.since_ms),
            services: spec.services.into_iter().map(ServiceView::from).collect(),
            warnings: spec.warnings,
            healings: spec.healings.map(healings),
        }
    }
}

impl From<ServiceStatus> for ServiceView {
    fn from(service: ServiceStatus) -> Self {
        Self {
            since: time(service.since_ms),
            last_contact: time(service.last_contact_ms),
            as_of: time(service.as_of_ms),
            healings: service.healings.map(healings),
            last_reload: time(service.last_reload_ms),
            direction: match service.direction() {
                WireDirection::Both => Some(Direction::Both),
                WireDirection::ToContainer => Some(Direction::ToContainer),
                WireDirection::Unspecified => None,
            },
            pod: service.pod,
            container: service.container,
            container_id: service.container_id,
            node: service.node,
            status: service.status,
            reason: service.reason,
            excluded: service.excluded,
            created: service.created,
            overrides: service.overrides,
            percent: service.percent,
            reloads: service.reloads,
            reload_note: service.reload_note,
            last_edit: service.last_edit.map(edit),
        }
    }
}

impl From<ContainerReload> for ReloadView {
    fn from(reload: ContainerReload) -> Self {
        use container_reload::Outcome as Wire;
        let outcome = match reload.outcome {
            Some(Wire::Reloaded(done)) => Outcome::Reloaded(done),
            Some(Wire::LeftAlone(why)) => Outcome::LeftAlone(why),
            Some(Wire::Error(why)) => Outcome::Failed(why),
            None => Outcome::Unknown("the watcher did not say why".to_owned()),
        };
        Self { pod: reload.pod, container: reload.container, outcome }
    }
}

impl From<AnswerReply> for AnswerView {
    fn from(reply: AnswerReply) -> Self {
        let pull = FirstPullView { files: reply.pull_files, bytes: reply.pull_bytes };
        Self {
            deletions: reply.deletions,
            gone_here: reply.gone_here,
            first_pull: Some(pull).filter(|pull| pull.files > 0),
            unasked: said(reply.unasked),
            put_back: reply.put_back,
            tops: reply.pull_tops,
        }
    }
}

fn edit(edit: LastEdit) -> Edit {
    Edit { at: time(edit.at_ms).unwrap_or_default(), settled: Duration::from_micros(edit.settled_us) }
}

fn said(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn time(ms: i64) -> Option<Timestamp> {
    if ms == 0 { None } else { Timestamp::from_millisecond(ms).ok() }
}

#[cfg(test)]
mod tests {
    use ksync_proto::watch::{ContainerReload, ServiceStatus, SpecStatus, StatusReply};

    use super::{BoardView, Outcome, ReloadView};

    #[test]
    fn an_answer_of_another_version_reads_too() {
        let service = ServiceStatus { status: "hovering".into(), ..ServiceStatus::default() };
        let spec = SpecStatus { name: "a".into(), services: vec![service], ..SpecStatus::default() };
        let board = BoardView::from(StatusReply { specs: vec![spec], ..StatusReply::default() });
        let (spec, service) = (&board.specs[0], &board.specs[0].services[0]);
        assert_eq!((&board.config_error, &spec.reload_mode, spec.since), (&None, &None, None));
        assert_eq!((service.status.as_str(), service.direction, service.last_edit), ("hovering", None, None));
        let reload = ReloadView::from(ContainerReload::default());
        assert!(matches!(reload.outcome, Outcome::Unknown(_)));
    }
}
