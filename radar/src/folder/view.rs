//! How far a folder is: what can be asked without its task, and waiting until it has everything.
//!
//! Invariant: settled means that the client's index up to a sequence was received, the client is
//! connected, nothing is missing, and the followers have got all of it.

use std::{sync::Arc, time::Duration};

use ksync_proto::radar::{ProofReply, SettleReply};
use syncthing::FolderStatus;
use tokio::sync::watch;
use tonic::Status;

use crate::{
    attach::Attachment,
    events::KINDS,
    fanout::{self, Followers, Queue},
    link::Link,
    status,
};

/// Looks again this often, should an event be missed.
const AGAIN: Duration = Duration::from_millis(250);

/// A folder, seen from outside its task.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(super) id: String,
    pub(super) device: String,
    pub(super) link: Arc<Link>,
    pub(super) lead: Arc<Attachment>,
    pub(super) followers: Followers,
    pub(super) queue: Queue,
    /// Counts up with everything that happens to the folder.
    pub(super) progress_rx: watch::Receiver<u64>,
    /// Id of the newest event that the folder has taken in.
    pub(super) seen_rx: watch::Receiver<u64>,
}

impl View {
    /// Folder id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The session that it belongs to.
    pub(crate) fn session(&self) -> &str {
        &self.lead.claim.session
    }

    /// Attachment id of the lead, which tells one folder from its successor of the same id.
    pub(crate) fn lead(&self) -> &str {
        &self.lead.id
    }

    pub(super) async fn status(&self) -> Result<FolderStatus, Status> {
        self.link.client.folder_status(&self.id).await.map_err(|error| status::of_syncthing(&error))
    }

    /// How far it is.
    pub(crate) async fn proof(&self) -> Result<ProofReply, Status> {
        let now = self.status().await?;
        let client = &self.link.client;
        let mut changed =
            client.local_changed(&self.id).await.map_err(|error| status::of_syncthing(&error))?;
        changed.retain(|path| !self.lead.about.excludes(path));
        Ok(ProofReply {
            need_items: now.need_total_items,
            // What an older connection brought may be of an older index.
            remote_sequence: if self.connected().await? { self.remote_sequence(&now) } else { 0 },
            receive_only_deleted: now.receive_only_changed_deletes,
            receive_only_changed: changed,
            errors: self.errors(&now).await?,
            state: now.state,
        })
    }

    fn remote_sequence(&self, now: &FolderStatus) -> i64 {
        now.remote_sequence.as_ref().and_then(|all| all.get(&self.device)).copied().unwrap_or(0)
    }

    /// Whether the client's syncthing is connected. Without it the sequence that was received is of the past, perhaps
    /// of a database that the client has no more.
    async fn connected(&self) -> Result<bool, Status> {
        let connected = self.link.client.connected().await.map_err(|error| status::of_syncthing(&error))?;
        Ok(connected.contains(&self.device))
    }

    async fn errors(&self, now: &FolderStatus) -> Result<Vec<String>, Status> {
        let mut errors: Vec<String> =
            (!now.error.is_empty()).then(|| now.error.clone()).into_iter().collect();
        if now.pull_errors > 0 {
            let failed = self.link.client.folder_errors(&self.id).await;
            let failed = failed.map_err(|error| status::of_syncthing(&error))?;
            errors.extend(failed.into_iter().map(|e| format!("`{}`: {}", e.path, e.error)));
        }
        errors.extend(self.queue.failures(&fanout::snapshot(&self.followers)));
        Ok(errors)
    }

    /// Waits until everything up to `sequence` of the client's index is here and in all followers, at most `limit`.
    pub(crate) async fn settle(&self, sequence: i64, limit: Duration) -> Result<SettleReply, Status> {
        let until = tokio::time::Instant::now() + limit;
        let mut progress_rx = self.progress_rx.clone();
        loop {
            progress_rx.borrow_and_update();
            if self.link.lost.is_cancelled() {
                return Err(Status::aborted("the node's syncthing restarted"));
            }
            let now = self.status().await?;
            let here =
                now.state == "idle" && now.need_total_items == 0 && self.remote_sequence(&now) >= sequence;
            if here && self.connected().await? && self.everywhere().await? {
                return Ok(SettleReply { settled: true, errors: self.errors(&now).await? });
            }
            if tokio::time::Instant::now() >= until {
                return Ok(SettleReply { settled: false, errors: self.errors(&now).await? });
            }
            tokio::select! {
                changed = progress_rx.changed() => if changed.is_err() {
                    return Err(Status::aborted("the folder has ended"));
                },
                () = tokio::time::sleep_until(until.min(tokio::time::Instant::now() + AGAIN)) => {}
            }
        }
    }

    /// Whether the followers have what the lead has: all events so far are taken in, and what came of them is done.
    async fn everywhere(&self) -> Result<bool, Status> {
        if fanout::snapshot(&self.followers).is_empty() {
            return Ok(true);
        }
        // Asking for what comes after the event before the last one is answered at once, with the last one.
        let seen = *self.seen_rx.borrow();
        let since = seen.saturating_sub(1);
        let events = self.link.client.events(KINDS, since, Duration::from_secs(1)).await;
        let newest = events.map_err(|error| status::of_syncthing(&error))?.last().map_or(0, |event| event.id);
        let done = newest <= seen && self.queue.pending() == 0;
        // Asked for now, because a job's failure is noted before it stops being pending.
        Ok(done && self.queue.failures(&fanout::snapshot(&self.followers)).is_empty())
    }
}

/// Why a folder may not become two-way, if so.
pub(super) fn not_proven(now: &FolderStatus) -> Option<String> {
    if now.state != "idle" {
        return Some(format!(
            "is not idle but `{}`",
            if now.state.is_empty() { "paused" } else { &now.state }
        ));
    }
    if now.need_total_items > 0 {
        return Some(format!("still needs {} items", now.need_total_items));
    }
    (now.receive_only_changed_deletes > 0).then(|| {
        format!("lacks {} items that were deleted in the container", now.receive_only_changed_deletes)
    })
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use syncthing::FolderStatus;
    use tokio::sync::watch;

    use super::{View, not_proven};
    use crate::{
        attach::fake,
        fanout::{Followers, Worker},
        ground::Ground,
        link::fake::{Answers, link},
        session::Sink,
    };

    #[tokio::test]
    async fn a_sequence_counts_only_while_the_client_is_connected() {
        let (dir, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let Some(lead) = fake::attached("l", at.path()).await else {
            return tracing::warn!("SKIPPED: mounts can't be cloned here");
        };
        let connected = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&connected);
        let answers: Answers = Arc::new(move |call| {
            let up = now.load(Ordering::SeqCst);
            Some(if call.starts_with("GET db/status") {
                r#"{"state":"idle","remoteSequence":{"D":90}}"#.to_owned()
            } else if call.starts_with("GET system/connections") {
                format!(r#"{{"connections":{{"D":{{"connected":{up}}}}}}}"#)
            } else {
                r#"{"files":[]}"#.to_owned()
            })
        });
        let link = link(dir.path(), answers);
        let followers = Followers::default();
        let ground =
            Ground { lead: Arc::clone(&lead), link: Arc::clone(&link), place: dir.path().join("place") };
        let (progress_tx, progress_rx) = watch::channel(0);
        let queue = Worker {
            ground,
            followers: Arc::clone(&followers),
            folder: "f".into(),
            sink: Sink::default(),
            progress_tx,
        }
        .spawn();
        let (_seen_tx, seen_rx) = watch::channel(0);
        let view =
            View { id: "f".into(), device: "D".into(), link, lead, followers, queue, progress_rx, seen_rx };
        let settled = async || view.settle(5, Duration::from_millis(50)).await.unwrap().settled;
        assert!(!settled().await);
        assert_eq!(view.proof().await.unwrap().remote_sequence, 0);
        connected.store(true, Ordering::SeqCst);
        assert!(settled().await);
        assert_eq!(view.proof().await.unwrap().remote_sequence, 90);
        assert!(!view.settle(91, Duration::from_millis(50)).await.unwrap().settled);
    }

    #[test]
    fn only_a_complete_idle_folder_becomes_two_way() {
        let idle = FolderStatus { state: "idle".into(), ..FolderStatus::default() };
        assert_eq!(not_proven(&idle), None);
        let cases = [
            (FolderStatus { state: "scanning".into(), ..idle.clone() }, "is not idle but `scanning`"),
            (FolderStatus { state: String::new(), ..idle.clone() }, "is not idle but `paused`"),
            (FolderStatus { need_total_items: 3, ..idle.clone() }, "still needs 3 items"),
            (
                FolderStatus { receive_only_changed_deletes: 2, ..idle },
                "lacks 2 items that were deleted in the container",
            ),
        ];
        for (status, reason) in cases {
            assert_eq!(not_proven(&status).as_deref(), Some(reason));
        }
    }
}
