//! What a folder's client is told, in its words.

use ksync_proto::radar::{AttachmentEnd, ContainerChange, EventsMissed, ItemFinished, session_event::Event};
use tonic::Status;

use super::{Command, Ending};
use crate::sync::{root_check::RootLost, session::Sink};

pub(super) fn item(sink: &Sink, attachment: &str, path: &str, action: &str, error: Option<&str>) {
    sink.send(Event::ItemFinished(ItemFinished {
        attachment_id: attachment.to_owned(),
        path: path.to_owned(),
        action: action.to_owned(),
        error: error.unwrap_or_default().to_owned(),
    }));
}

pub(super) fn change(sink: &Sink, attachment: &str, path: &str, action: &str, kind: &str) {
    let kind = if kind == "symlink" || kind == "dir" { kind } else { "file" };
    sink.send(Event::ContainerChange(ContainerChange {
        attachment_id: attachment.to_owned(),
        path: path.to_owned(),
        action: action.to_owned(),
        kind: kind.to_owned(),
    }));
}

pub(super) fn missed(sink: &Sink, attachment: &str) {
    sink.send(Event::EventsMissed(EventsMissed { attachment_id: attachment.to_owned() }));
}

/// The lead is no longer what it was.
pub(super) fn lost(lost: RootLost) -> Ending {
    let (why, reason) = match lost {
        RootLost::Exited => (AttachmentEnd::ContainerExited, "the container has ended".to_owned()),
        RootLost::Changed(reason) => (AttachmentEnd::RootChanged, reason),
    };
    Ending { why, reason, lead_only: true }
}

/// The same as an answer.
pub(super) fn not_there(lost: RootLost) -> Status {
    match lost {
        RootLost::Exited => Status::failed_precondition("the container has ended"),
        RootLost::Changed(reason) => Status::failed_precondition(reason),
    }
}

/// Answers a command that came after the end.
pub(super) fn too_late(command: Command, reason: &str) {
    let status = || Status::aborted(format!("the folder has ended: {reason}"));
    // Whoever asked may be gone as well.
    match command {
        Command::Join(_, reply) => drop(reply.send(Err(status()))),
        Command::SetDirection(_, reply) => drop(reply.send(Err(status()))),
        Command::Leave(_, reply) => drop(reply.send(())),
        Command::End(..) => {}
    }
}
