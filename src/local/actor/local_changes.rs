//! Which of the changes that scans found here were made here: apps are reloaded for those.
//!
//! The first scan of a syncthing process finds everything, for its database is empty; of that, only what changed since its
//! predecessor was gone, or since the folder was opened, is a change.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use ksync_tree::{Root, stat_entry};
use syncthing::{Event, TypedEvent};
use tracing::debug;

use crate::local::history::{LocalEdit, LocalEdits, OwnWrites};

/// How far the events of one syncthing process were read.
#[derive(Debug, Default)]
struct EventCursor {
    /// Since when nobody has listened before it.
    begun: Timestamp,
    /// When its first scan was over; none before.
    first: Option<Timestamp>,
    /// The number of the last event.
    last: u64,
}

/// Where an event stands among those of its syncthing process.
#[derive(Debug, PartialEq, Eq)]
struct Position {
    /// The process's first scan was not over.
    of_first_scan: bool,
    /// Events before it were lost.
    after_loss: bool,
}

impl EventCursor {
    /// Of the process that comes next.
    fn anew() -> Self {
        Self { begun: Timestamp::now(), ..Self::default() }
    }

    /// A scan is over.
    fn scanned(&mut self) {
        self.first.get_or_insert_with(Timestamp::now);
    }

    /// Reads an event.
    fn next(&mut self, event: &Event) -> Position {
        let after_loss = event.id > self.last + 1;
        self.last = event.id;
        let at = event.time.parse().unwrap_or(Timestamp::MAX);
        Position { of_first_scan: self.first.is_none_or(|first| at <= first), after_loss }
    }
}

/// Tells of the changes that were made here.
pub(super) struct LocalChanges {
    id: String,
    path: PathBuf,
    own_writes: Arc<OwnWrites>,
    /// Where the edits are told.
    edits: Arc<LocalEdits>,
    cursor: EventCursor,
}

impl LocalChanges {
    /// Of the folder `id` over `path`.
    pub(super) fn new(id: &str, path: &Path, own_writes: Arc<OwnWrites>, edits: Arc<LocalEdits>) -> Self {
        Self { id: id.to_owned(), path: path.to_owned(), own_writes, edits, cursor: EventCursor::anew() }
    }

    /// The syncthing process ended: its successor numbers its events anew.
    pub(super) fn restarted(&mut self) {
        self.cursor = EventCursor::anew();
    }

    /// A scan is over.
    pub(super) fn scanned(&mut self) {
        self.cursor.scanned();
    }

    /// Tells of a change that a scan found, if it was made here.
    pub(super) fn found(&mut self, event: &Event) {
        let Position { of_first_scan, after_loss } = self.cursor.next(event);
        if after_loss && !of_first_scan {
            debug!(event.id, "events were lost");
            self.edits.record(LocalEdit::Something);
        }
        let TypedEvent::LocalChange { folder, path, kind, .. } = event.typed() else { return };
        // An empty directory is nothing that an app runs, and what is in it is told of by itself.
        if folder != self.id || kind == "dir" || syncthing::conflict::copy(&path).is_some() {
            return;
        }
        let now = Root::open(&self.path).and_then(|root| stat_entry(&root, &path, false));
        if now.is_ok_and(|now| self.own_writes.explains(&path, now.as_ref())) {
            return debug!(path, "brought here for a container");
        }
        if of_first_scan && !changed_since(&self.path.join(&path), self.cursor.begun) {
            return;
        }
        debug!(path, "changed here");
        self.edits.record(LocalEdit::Path(path));
    }
}

/// Whether the file's inode changed after `then`; its mtime may be of any time.
fn changed_since(path: &Path, then: Timestamp) -> bool {
    path.symlink_metadata().is_ok_and(|meta| {
        let nanos = i32::try_from(meta.ctime_nsec()).unwrap_or_default();
        Timestamp::new(meta.ctime(), nanos).is_ok_and(|changed| changed >= then)
    })
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use syncthing::Event;

    use super::{EventCursor, Position, changed_since};

    #[test]
    fn the_first_scan_and_lost_events_are_told_apart() {
        let event = |id, time: Timestamp| Event {
            id,
            kind: "LocalChangeDetected".into(),
            time: time.to_string(),
            data: serde_json::Value::Null,
        };
        let position = |of_first_scan, after_loss| Position { of_first_scan, after_loss };
        let (before, after) = (SignedDuration::from_millis(-50), SignedDuration::from_millis(50));
        let mut cursor = EventCursor::anew();
        assert_eq!(cursor.next(&event(1, Timestamp::now())), position(true, false), "it is not over yet");
        cursor.scanned();
        let over = cursor.first.unwrap();
        cursor.scanned();
        assert_eq!(cursor.first, Some(over), "there is one first scan");
        assert_eq!(cursor.next(&event(2, over + before)), position(true, false));
        assert_eq!(cursor.next(&event(3, over + after)), position(false, false));
        assert_eq!(cursor.next(&event(7, over + after)), position(false, true));
    }

    #[test]
    fn a_file_that_was_there_before_is_no_change() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let an_hour = SignedDuration::from_hours(1);
        assert!(changed_since(file.path(), Timestamp::now() - an_hour));
        assert!(!changed_since(file.path(), Timestamp::now() + an_hour));
        assert!(!changed_since(&file.path().join("none"), Timestamp::UNIX_EPOCH));
    }
}
