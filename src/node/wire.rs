//! Between radar's wire types and this side's own. Nothing above `node` sees the former.

use std::time::Duration;

use ksync_proto::radar as proto;
use proto::{reload_reply::Outcome, session_event::Event};

use super::{
    call_error::CallError,
    messages::{AttachReply, ExcludedMount, ReloadReply, ReloadRequest, Reloaded},
};
use crate::{config::ReloadMode, targets::RemoteContainer};

pub(super) fn container(container: &RemoteContainer) -> proto::Container {
    proto::Container {
        id: container.id.clone(),
        namespace: container.namespace.clone(),
        pod: container.pod.clone(),
    }
}

/// The attachment's id, and what was attached.
pub(super) fn attach_reply(mut reply: proto::AttachReply) -> (String, AttachReply) {
    let excluded = std::mem::take(&mut reply.submounts).into_iter().filter(|mount| mount.excluded);
    let excluded = excluded.map(|mount| ExcludedMount { path: mount.path, reason: mount.reason }).collect();
    let proto::AttachReply { attachment_id, path, created, overrides, .. } = reply;
    (attachment_id, AttachReply { path, created, overrides, excluded })
}

/// The id of the attachment that ended, and why, in a sentence; none for what tells of no end.
pub(super) fn ended(event: Event) -> Option<(String, String)> {
    let Event::AttachmentEnded(end) = event else { return None };
    tracing::debug!(attachment = end.attachment_id, why = end.why().as_str_name(), "ended");
    Some((end.attachment_id, end.reason))
}

pub(super) fn reload_request(attachment: &str, request: &ReloadRequest<'_>) -> proto::ReloadRequest {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (mode, signal) = match request.mode {
        ReloadMode::Auto => (proto::ReloadMode::Auto, ""),
        ReloadMode::Process => (proto::ReloadMode::Process, ""),
        ReloadMode::Container => (proto::ReloadMode::Container, ""),
        ReloadMode::Signal(name) => (proto::ReloadMode::Signal, name.as_str()),
    };
    proto::ReloadRequest {
        attachment_id: attachment.to_owned(),
        mode: mode.into(),
        signal: signal.to_owned(),
        restart_policy: request.restart_policy.to_owned(),
        stop_grace_ms: milliseconds(request.stop_grace),
        grace_ms: milliseconds(request.grace),
    }
}

pub(super) fn reload_reply(reply: proto::ReloadReply) -> Result<ReloadReply, CallError> {
    match reply.outcome {
        Some(Outcome::Reloaded(done)) => Ok(ReloadReply::Reloaded(Reloaded {
            took: Duration::from_micros(done.took_us),
            executed: done.executed,
            dropped: done.dropped,
        })),
        Some(Outcome::LeftAlone(left)) => Ok(ReloadReply::LeftAlone(left.reason)),
        None => Err(CallError::Refused("radar did not say what it did".to_owned())),
    }
}
