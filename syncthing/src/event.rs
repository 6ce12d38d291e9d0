//! Events of syncthing's long poll, typed where ksync reads them.
//!
//! Source: <https://docs.syncthing.net/dev/events.html>.

use serde::Deserialize;
use serde_json::Value;

/// One event as it comes.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// Counts up by one within one subscription.
    pub id: u64,
    /// For example `ItemFinished`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened, RFC 3339, by the clock of syncthing's machine.
    #[serde(default)]
    pub time: String,
    /// What the kind says it is; see [`Event::typed`].
    #[serde(default)]
    pub data: Value,
}

/// The events that ksync acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedEvent {
    /// A change of the far side was applied here, or failed.
    ItemFinished {
        /// Folder id.
        folder: String,
        /// Path relative to the folder.
        item: String,
        /// file, dir, symlink.
        kind: String,
        /// update, metadata, delete.
        action: String,
        /// Why it failed.
        error: Option<String>,
    },
    /// A scan found a change that was made here.
    LocalChange {
        /// Folder id.
        folder: String,
        /// Path relative to the folder.
        path: String,
        /// file, dir, symlink.
        kind: String,
        /// modified, deleted.
        action: String,
    },
    /// A folder went from one state to another.
    StateChanged {
        /// Folder id.
        folder: String,
        /// The new state.
        to: String,
        /// Why, when the state is an error.
        error: Option<String>,
    },
    /// The far side's index arrived, in part.
    RemoteIndexUpdated {
        /// Folder id.
        folder: String,
        /// Device whose index it is.
        device: String,
    },
    /// A device connected.
    DeviceConnected {
        /// Its id.
        id: String,
    },
    /// A device went away.
    DeviceDisconnected {
        /// Its id.
        id: String,
        /// Why.
        error: String,
    },
    /// Anything else.
    Other,
}

impl Event {
    /// The event's meaning. A field that is missing reads as empty.
    pub fn typed(&self) -> TypedEvent {
        let text = |key: &str| self.data[key].as_str().unwrap_or_default().to_owned();
        let error = |key: &str| self.data[key].as_str().filter(|e| !e.is_empty()).map(str::to_owned);
        match self.kind.as_str() {
            "ItemFinished" => TypedEvent::ItemFinished {
                folder: text("folder"),
                item: text("item"),
                kind: text("type"),
                action: text("action"),
                error: error("error"),
            },
            "LocalChangeDetected" => TypedEvent::LocalChange {
                folder: text("folder"),
                path: text("path"),
                kind: text("type"),
                action: text("action"),
            },
            "StateChanged" => {
                TypedEvent::StateChanged { folder: text("folder"), to: text("to"), error: error("error") }
            }
            "RemoteIndexUpdated" => {
                TypedEvent::RemoteIndexUpdated { folder: text("folder"), device: text("device") }
            }
            "DeviceConnected" => TypedEvent::DeviceConnected { id: text("id") },
            "DeviceDisconnected" => TypedEvent::DeviceDisconnected { id: text("id"), error: text("error") },
            _ => TypedEvent::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, TypedEvent};

    #[test]
    fn an_item_that_failed_keeps_its_error() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "id": 7, "globalID": 9, "type": "ItemFinished", "time": "2026-01-01T00:00:00Z",
            "data": {"item": "a/b", "folder": "f", "error": "no space", "type": "file", "action": "update"}
        }))
        .unwrap();
        assert_eq!(
            event.typed(),
            TypedEvent::ItemFinished {
                folder: "f".into(),
                item: "a/b".into(),
                kind: "file".into(),
                action: "update".into(),
                error: Some("no space".into())
            }
        );
    }

    #[test]
    fn a_null_error_is_none() {
        let event = Event {
            id: 1,
            kind: "ItemFinished".into(),
            time: String::new(),
            data: serde_json::json!({"item": "a", "folder": "f", "error": null, "type": "dir", "action": "delete"}),
        };
        assert!(matches!(event.typed(), TypedEvent::ItemFinished { error: None, .. }));
    }

    #[test]
    fn no_answer_breaks_it() {
        let samples: [&[u8]; 3] = [
            br#"[{"id":7,"globalID":9,"type":"ItemFinished","time":"2026-01-01T00:00:00Z","data":{"item":"a/b","folder":"f","error":null,"type":"file","action":"update"}}]"#,
            br#"[{"id":8,"type":"StateChanged","data":{"folder":"f","to":"error","error":"x"}},{"id":9,"type":"DeviceConnected","data":{"id":"A"}}]"#,
            br#"{"state":"idle","error":"","sequence":7,"remoteSequence":{"A":3},"needTotalItems":2,"localFiles":1,"pullErrors":0}"#,
        ];
        ksync_mangle::each(&samples, |bytes| {
            for event in serde_json::from_slice::<Vec<Event>>(bytes).unwrap_or_default() {
                let _ = event.typed();
            }
            let _ = serde_json::from_slice::<crate::FolderStatus>(bytes);
            let _ = serde_json::from_slice::<Vec<crate::PullError>>(bytes);
        });
    }
}
