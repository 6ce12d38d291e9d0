//! A folder's events for its client.

use ksync_proto::radar::{ContainerChange, EventsMissed, ItemFinished, session_event::Event};

use crate::sync::session::Sink;

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
