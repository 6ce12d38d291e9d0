//! The board as the status endpoint sends it; `view` reads it at the other end.

use std::time::{Instant, SystemTime};

use jiff::Timestamp;
use ksync_common::micros;
use ksync_engine::Healings;
use ksync_proto::watch::{
    AnswerReply, ContainerReload, Direction as WireDirection, Healings as WireHealings, LastEdit,
    ServiceStatus, SpecStatus, StatusReply, container_reload,
};

use crate::{
    config::Direction,
    local::Answered,
    reload,
    status::{Board, Edit, ServiceState, SpecState},
    targets::RemoteContainer,
};

/// What became of one container's reload.
pub(super) fn reload(container: &RemoteContainer, outcome: reload::Outcome) -> ContainerReload {
    use container_reload::Outcome as Wire;
    ContainerReload {
        pod: container.pod.clone(),
        container: container.name.clone(),
        outcome: Some(match outcome {
            reload::Outcome::Reloaded(done) => Wire::Reloaded(done),
            reload::Outcome::LeftAlone(why) => Wire::LeftAlone(why),
            reload::Outcome::Failed(why) | reload::Outcome::Unknown(why) => Wire::Error(why),
        }),
    }
}

/// What an answer was given to.
pub(super) fn answered(answered: Answered) -> AnswerReply {
    let (files, bytes) = answered.first_pull.map_or_else(Default::default, |pull| (pull.files, pull.bytes));
    let (unasked, put_back) = answered.unasked.unwrap_or_default();
    AnswerReply {
        deletions: answered.deletions as u64,
        gone_here: answered.gone_here as u64,
        pull_files: files as u64,
        pull_bytes: bytes,
        pull_tops: answered.tops,
        unasked,
        put_back: put_back as u64,
    }
}

/// The whole board.
pub(super) fn reply(board: &Board, context: &str) -> StatusReply {
    StatusReply {
        specs: board.specs.values().map(|state| spec(state, context)).collect(),
        config_error: board.config_error.clone().unwrap_or_default(),
        cluster_error: board.cluster_error.clone().unwrap_or_default(),
    }
}

fn spec(state: &SpecState, context: &str) -> SpecStatus {
    let (overall, details) = (state.overall(), &state.details);
    SpecStatus {
        name: details.name.clone(),
        context: context.to_owned(),
        namespace: details.namespace.clone(),
        selector: details.selector.clone(),
        pod: details.pod.clone(),
        container: details.containername.clone(),
        local_path: details.localpath.clone(),
        remote_path: details.remotepath.clone(),
        reload: details.reload,
        status: overall.status.to_string(),
        reason: overall.reason,
        since_ms: overall.since.as_millisecond(),
        services: state.services.values().map(service).collect(),
        warnings: state.warnings.clone(),
        healings: Some(healings(state.healings)),
        reload_mode: details.reload_mode.clone().unwrap_or_default().to_string(),
    }
}

fn service(state: &ServiceState) -> ServiceStatus {
    let standing = state.shown();
    ServiceStatus {
        pod: state.pod.clone(),
        container: state.container.clone(),
        container_id: state.container_id.clone(),
        node: state.node.clone(),
        status: standing.status.to_string(),
        reason: standing.reason,
        since_ms: standing.since.as_millisecond(),
        last_contact_ms: state.last_contact.map_or(0, Timestamp::as_millisecond),
        healings: Some(healings(state.healings)),
        as_of_ms: state.as_of.and_then(at).map_or(0, Timestamp::as_millisecond),
        direction: direction(state.direction).into(),
        excluded: state.excluded.clone(),
        created: state.created,
        overrides: state.overrides,
        percent: state.percent,
        reloads: state.reload.count,
        last_reload_ms: state.reload.last.map_or(0, Timestamp::as_millisecond),
        reload_note: state.reload.note.clone(),
        last_edit: state.last_edit.as_ref().map(edit),
    }
}

fn healings(healings: Healings) -> WireHealings {
    let Healings { missed, recounted } = healings;
    WireHealings { missed, recounted }
}

/// None of a time that no clock shows.
fn at(moment: Instant) -> Option<Timestamp> {
    Timestamp::try_from(SystemTime::now().checked_sub(moment.elapsed())?).ok()
}

fn direction(direction: Direction) -> WireDirection {
    match direction {
        Direction::Both => WireDirection::Both,
        Direction::ToContainer => WireDirection::ToContainer,
    }
}

fn edit(edit: &Edit) -> LastEdit {
    LastEdit { at_ms: edit.at.as_millisecond(), settled_us: micros(edit.settled) }
}
