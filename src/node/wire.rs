//! Between radar's wire types and this side's own. Nothing above `node` sees the former.

use std::time::Duration;

use ksync_proto::radar as proto;
use ksync_tree::{Entry, Kind};
use proto::{reload_reply::Outcome, session_event::Event};

use super::{
    call_error::CallError,
    messages::{
        AttachReply, AttachmentEvent, ExcludedMount, ReloadReply, ReloadRequest, Reloaded, Role, SettleReply,
        StagesAgo,
    },
};
use crate::{
    config::{Direction, ReloadMode},
    targets::RemoteContainer,
};

pub(super) fn container(container: &RemoteContainer) -> proto::Container {
    proto::Container {
        id: container.id.clone(),
        namespace: container.namespace.clone(),
        pod: container.pod.clone(),
    }
}

/// The attachment's id, and what was attached.
pub(super) fn attach_reply(reply: proto::AttachReply) -> (String, AttachReply) {
    let role = role(reply.role());
    let excluded = reply.submounts.into_iter().filter(|mount| mount.excluded);
    let excluded = excluded.map(|mount| ExcludedMount { path: mount.path, reason: mount.reason }).collect();
    (reply.attachment_id, AttachReply { path: reply.path, created: reply.created, excluded, role })
}

pub(super) fn role(role: proto::Role) -> Option<Role> {
    match role {
        proto::Role::Unspecified => None,
        proto::Role::Lead => Some(Role::Lead),
        proto::Role::Follower => Some(Role::Follower),
        proto::Role::Alias => Some(Role::Alias),
    }
}

/// An event with the id of its attachment; none for what is of no attachment, or says nothing new.
pub(super) fn event(event: Event) -> Option<(String, AttachmentEvent)> {
    match event {
        Event::ContainerChange(change) if change.action == "deleted" => {
            Some((change.attachment_id, AttachmentEvent::Deleted { path: change.path }))
        }
        Event::ContainerChange(change) => {
            let kind = match change.kind.as_str() {
                "file" => Some(Kind::File),
                "dir" => Some(Kind::Dir),
                "symlink" => Some(Kind::Symlink),
                _ => None,
            };
            Some((change.attachment_id, AttachmentEvent::Changed { path: change.path, kind }))
        }
        // What was written is known from settling.
        Event::ItemFinished(item) if item.error.is_empty() => None,
        Event::ItemFinished(item) => {
            let proto::ItemFinished { attachment_id, path, action, error } = item;
            Some((attachment_id, AttachmentEvent::NotWritten { path, action, error }))
        }
        Event::EventsMissed(missed) => Some((missed.attachment_id, AttachmentEvent::Missed)),
        Event::AttachmentEnded(end) => {
            let why = end.why().as_str_name();
            Some((end.attachment_id, AttachmentEvent::Ended { why, reason: end.reason }))
        }
        Event::Ready(_) | Event::SessionEnded(_) => None,
    }
}

pub(super) fn entry(entry: proto::Entry) -> Result<Entry, CallError> {
    let kind = match entry.kind() {
        proto::EntryKind::File => Kind::File,
        proto::EntryKind::Dir => Kind::Dir,
        proto::EntryKind::Symlink => Kind::Symlink,
        proto::EntryKind::Unspecified => return Err(CallError::Malformed("an entry without a kind")),
    };
    let bytes = Some(entry.hash.as_slice()).filter(|bytes| !bytes.is_empty());
    let hash = bytes.map(TryInto::try_into).transpose();
    let hash = hash.map_err(|_| CallError::Malformed("a hash of odd length"))?;
    let target = (kind == Kind::Symlink).then_some(entry.target);
    Ok(Entry {
        path: entry.path,
        kind,
        size: entry.size,
        mtime_ns: entry.mtime_ns,
        // An older radar tells set-uid, set-gid and sticky too, which are not carried.
        mode: entry.mode & 0o777,
        hash,
        target,
    })
}

/// A regular file without its content.
pub(super) fn file(file: &Entry) -> proto::Entry {
    proto::Entry {
        path: file.path.clone(),
        kind: proto::EntryKind::File.into(),
        size: file.size,
        mtime_ns: file.mtime_ns,
        mode: file.mode,
        ..proto::Entry::default()
    }
}

pub(super) fn settle_reply(reply: proto::SettleReply) -> SettleReply {
    if !reply.settled {
        return SettleReply::Failing(reply.errors);
    }
    let ago = |us: u64| (us > 0).then(|| Duration::from_micros(us));
    SettleReply::Settled(StagesAgo {
        index: ago(reply.index_ago_us),
        finished: ago(reply.finished_ago_us),
        copied: ago(reply.copied_ago_us),
    })
}

pub(super) fn direction(direction: Direction) -> proto::Direction {
    match direction {
        Direction::Both => proto::Direction::Both,
        Direction::ToContainer => proto::Direction::ToContainer,
    }
}

pub(super) fn reload_request(
    session: &str,
    attachment: &str,
    request: &ReloadRequest<'_>,
) -> proto::ReloadRequest {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (mode, signal) = match request.mode {
        ReloadMode::Auto => (proto::ReloadMode::Auto, ""),
        ReloadMode::Process => (proto::ReloadMode::Process, ""),
        ReloadMode::Container => (proto::ReloadMode::Container, ""),
        ReloadMode::Signal(name) => (proto::ReloadMode::Signal, name.as_str()),
    };
    proto::ReloadRequest {
        session_id: session.to_owned(),
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
