//! A folder's progress: questions that need not its task, and the wait until everything is in sync.
//!
//! Invariant: settled means that the client's index up to a sequence was received, the client is
//! connected, nothing is missing, and the followers have got all of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ksync_proto::radar::SettleReply;
use syncthing::FolderStatus;
use tokio::sync::watch;

use super::{error::Error, left_out, pull_errors};
use crate::{
    container::attachment::Attachment,
    supervisor::{events::KINDS, node_syncthing::NodeSyncthing},
    sync::{
        fanout::{self, Followers, Queue},
        stage_times::{Stage, StageTimes},
    },
};

/// Looks again this often, should an event be missed.
const AGAIN: Duration = Duration::from_millis(250);
/// Failures that are told at most: they go in one message, and the client names what it knows in each question.
const TOLD: usize = 500;
/// What fails is told when it stands for this long: most of it goes well at the next try.
const STANDING: Duration = Duration::from_secs(2);

/// A folder, seen from outside its task.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(super) id: String,
    pub(super) device: String,
    pub(super) syncthing: Arc<NodeSyncthing>,
    pub(super) lead: Arc<Attachment>,
    pub(super) followers: Followers,
    pub(super) queue: Queue,
    /// Counts up when something happened after which the folder may have all that it should.
    pub(super) advances_rx: watch::Receiver<u64>,
    /// Whether syncthing is at work on the folder, as far as its events tell.
    pub(super) busy_rx: watch::Receiver<bool>,
    /// Id of the newest event that the folder has taken in.
    pub(super) seen_rx: watch::Receiver<u64>,
    /// What could not be written when it was last looked at.
    pub(super) failing: Arc<Mutex<Failing>>,
    /// When a change last passed each stage.
    pub(super) stage_times: StageTimes,
}

impl Progress {
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

    pub(super) async fn status(&self) -> Result<FolderStatus, Error> {
        Ok(self.syncthing.client.folder_status(&self.id).await?)
    }

    fn remote_sequence(&self, now: &FolderStatus) -> i64 {
        now.remote_sequence.as_ref().and_then(|all| all.get(&self.device)).copied().unwrap_or(0)
    }

    /// Whether the client's syncthing is connected. Without it the sequence that was received is of the past, perhaps
    /// of a database that the client has no more.
    async fn connected(&self) -> Result<bool, Error> {
        let connected = self.syncthing.client.connected().await?;
        Ok(connected.contains(&self.device))
    }

    /// What syncthing could not do.
    pub(super) async fn failed(&self, now: &FolderStatus) -> Result<Failed, Error> {
        if now.pull_errors == 0 {
            return Ok(Failed::default());
        }
        let all = self.syncthing.client.folder_errors(&self.id).await?;
        let count = all.len();
        let failures = left_out::failures(&self.lead, all).await;
        let stays = u64::try_from(count - failures.len()).unwrap_or_default();
        Ok(Failed { sentences: failures.iter().map(pull_errors::sentence).collect(), stays })
    }

    fn errors(&self, now: &FolderStatus, failed: &Failed) -> Vec<String> {
        let own = (!now.error.is_empty()).then(|| now.error.clone());
        let followers = self.queue.failures(&fanout::snapshot(&self.followers));
        own.into_iter().chain(failed.sentences.iter().cloned()).chain(followers).take(TOLD).collect()
    }

    /// Waits until everything up to `sequence` of the client's index is here and in all followers, at most `limit`, or
    /// until something else fails than what is `known` to.
    pub(crate) async fn settle(
        &self,
        sequence: i64,
        known: &[String],
        limit: Duration,
    ) -> Result<SettleReply, Error> {
        let until = tokio::time::Instant::now() + limit;
        let mut advances_rx = self.advances_rx.clone();
        loop {
            advances_rx.borrow_and_update();
            if self.syncthing.lost.is_cancelled() {
                return Err(Error::SyncthingRestarted);
            }
            // To ask while syncthing pulls would only take its time: it tells when it is through.
            self.rest(until).await;
            let now = self.status().await?;
            let failed = self.failed(&now).await?;
            let has_all = now.state == "idle" && now.need_total_items <= failed.stays;
            if has_all
                && self.remote_sequence(&now) >= sequence
                && self.connected().await?
                && self.everywhere().await?
            {
                return Ok(self.answer(true, self.errors(&now, &failed)));
            }
            let errors = self.errors(&now, &failed);
            // While it pulls, syncthing knows of no errors.
            let stand = is_at_rest(&now) && self.stand(&errors);
            if stand && errors != known || tokio::time::Instant::now() >= until {
                return Ok(self.answer(false, errors));
            }
            tokio::select! {
                changed = advances_rx.changed() => if changed.is_err() {
                    return Err(Error::Ended);
                },
                () = tokio::time::sleep_until(until.min(tokio::time::Instant::now() + AGAIN)) => {}
            }
        }
    }

    /// Waits while syncthing is at work on the folder, but not for long: an event may have been missed.
    async fn rest(&self, until: tokio::time::Instant) {
        let mut busy_rx = self.busy_rx.clone();
        let limit = until.min(tokio::time::Instant::now() + AGAIN);
        // Neither the limit nor the folder's end changes what is done next: syncthing is asked.
        let _ = tokio::time::timeout_at(limit, busy_rx.wait_for(|busy| !busy)).await;
    }

    fn answer(&self, settled: bool, errors: Vec<String>) -> SettleReply {
        let [index_ago_us, finished_ago_us, copied_ago_us] =
            [Stage::Index, Stage::Finished, Stage::Copied].map(|stage| self.stage_times.ago_us(stage));
        tracing::debug!(
            folder = self.id,
            settled,
            index_ago_us,
            finished_ago_us,
            copied_ago_us,
            "answer how far it is"
        );
        SettleReply { settled, errors, index_ago_us, finished_ago_us, copied_ago_us }
    }

    fn stand(&self, errors: &[String]) -> bool {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.stand(errors, tokio::time::Instant::now())
    }

    /// Whether the followers have what the lead has: all events so far are taken in, and what came of them is done.
    async fn everywhere(&self) -> Result<bool, Error> {
        if fanout::snapshot(&self.followers).is_empty() {
            return Ok(true);
        }
        // Asking for what comes after the event before the last one is answered at once, with the last one.
        let seen = *self.seen_rx.borrow();
        let since = seen.saturating_sub(1);
        let events = self.syncthing.client.events(KINDS, since, Duration::from_secs(1)).await;
        let newest = events?.last().map_or(0, |event| event.id);
        let mut seen_rx = self.seen_rx.clone();
        let caught_up = tokio::time::timeout(AGAIN, seen_rx.wait_for(|seen| *seen >= newest)).await;
        let done = matches!(caught_up, Ok(Ok(_))) && self.queue.pending() == 0;
        // Asked for now, because a job's failure is noted before it stops being pending.
        Ok(done && self.queue.failures(&fanout::snapshot(&self.followers)).is_empty())
    }
}

/// Whether syncthing has tried everything and waits for its next try.
fn is_at_rest(now: &FolderStatus) -> bool {
    matches!(now.state.as_str(), "idle" | "error")
}

/// What fails, and since when just that. Kept with the folder: its clients ask again whenever something happens.
#[derive(Debug, Default)]
pub(super) struct Failing(Option<(Vec<String>, tokio::time::Instant)>);

impl Failing {
    /// Whether these `errors`, or that there are none, have stood for a while.
    fn stand(&mut self, errors: &[String], now: tokio::time::Instant) -> bool {
        match &self.0 {
            Some((seen, since)) if seen == errors => now.duration_since(*since) >= STANDING,
            _ => {
                self.0 = Some((errors.to_owned(), now));
                false
            }
        }
    }
}

/// What of its work syncthing could not do.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// A sentence for each.
    sentences: Vec<String>,
    /// How many directories stay where they are for what is left out of them, beside those.
    pub(super) stays: u64,
}

/// Why a folder may not become two-way, if so. `stays` items that it needs count as done.
pub(super) fn not_proven(now: &FolderStatus, stays: u64) -> Option<String> {
    if now.state != "idle" {
        return Some(format!(
            "is not idle but `{}`",
            if now.state.is_empty() { "paused" } else { &now.state }
        ));
    }
    if now.need_total_items > stays {
        return Some(format!("still needs {} items", now.need_total_items));
    }
    (now.receive_only_changed_deletes > 0).then(|| {
        format!("lacks {} items that were deleted in the container", now.receive_only_changed_deletes)
    })
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::{Duration, Instant},
    };

    use syncthing::FolderStatus;
    use tokio::sync::watch;

    use super::{Failing, Progress, STANDING, not_proven};
    use crate::{
        container::attachment::fake,
        supervisor::node_syncthing::fake::{Answers, node_syncthing},
        sync::{
            fanout::{Followers, Worker},
            root_check::LeadRoot,
            session::Sink,
            stage_times::StageTimes,
        },
    };

    /// A folder at `at` whose syncthing gives these answers; none where mounts can't be cloned.
    async fn progress(dir: &Path, at: &Path, answers: Answers) -> Option<(Progress, watch::Sender<u64>)> {
        let lead = fake::attached("l", at).await?;
        let syncthing = node_syncthing(dir, answers);
        let followers = Followers::default();
        let lead_root = LeadRoot {
            lead: Arc::clone(&lead),
            syncthing: Arc::clone(&syncthing),
            mount_point: dir.join("mount_point"),
        };
        let (advances_tx, advances_rx) = watch::channel(0);
        let queue = Worker {
            lead_root,
            followers: Arc::clone(&followers),
            folder: "f".into(),
            sink: Sink::default(),
            advances_tx,
            stage_times: StageTimes::default(),
        }
        .spawn();
        let (seen_tx, seen_rx) = watch::channel(0);
        let (_, busy_rx) = watch::channel(false);
        let (id, device, failing) = ("f".into(), "D".into(), Arc::default());
        let stage_times = StageTimes::default();
        let progress = Progress {
            id,
            device,
            syncthing,
            lead,
            followers,
            queue,
            advances_rx,
            busy_rx,
            seen_rx,
            failing,
            stage_times,
        };
        Some((progress, seen_tx))
    }

    #[tokio::test]
    async fn a_sequence_counts_only_while_the_client_is_connected() {
        let (dir, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
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
        let Some((progress, _seen_tx)) = progress(dir.path(), at.path(), answers).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let settled = async || progress.settle(5, &[], Duration::from_millis(50)).await.unwrap().settled;
        assert!(!settled().await);
        connected.store(true, Ordering::SeqCst);
        assert!(settled().await);
        assert!(!progress.settle(91, &[], Duration::from_millis(50)).await.unwrap().settled);
    }

    #[tokio::test]
    async fn what_fails_is_told_long_before_the_limit_and_only_once() {
        let (dir, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let answers: Answers = Arc::new(|call| {
            Some(if call.starts_with("GET db/status") {
                r#"{"state":"idle","needTotalItems":1,"pullErrors":1,"remoteSequence":{"D":90}}"#.to_owned()
            } else if call.starts_with("GET folder/errors") {
                r#"{"errors":[{"path":"big","error":"no space left on device"}]}"#.to_owned()
            } else {
                r#"{"connections":{"D":{"connected":true}}}"#.to_owned()
            })
        });
        let Some((progress, _seen_tx)) = progress(dir.path(), at.path(), answers).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let begun = Instant::now();
        let told = progress.settle(5, &[], Duration::from_secs(60)).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30), "after {:?}", begun.elapsed());
        assert_eq!(told.errors, ["`big`: no space left on device in the container"]);
        let limit = STANDING * 2;
        let begun = Instant::now();
        let again = progress.settle(5, &told.errors, limit).await.unwrap();
        assert!(begun.elapsed() >= limit && !again.settled, "after {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_directory_that_stays_for_what_is_left_out_of_it_holds_nothing_up() {
        let (dir, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(at.path().join("pkg")).unwrap();
        std::fs::write(at.path().join("pkg/x.log"), "").unwrap();
        let answers: Answers = Arc::new(|call| {
            Some(if call.starts_with("GET db/status") {
                r#"{"state":"idle","needTotalItems":1,"pullErrors":1,"remoteSequence":{"D":90}}"#.to_owned()
            } else if call.starts_with("GET folder/errors") {
                let why = "syncing: delete dir: remove /sync/f/pkg: directory not empty";
                format!(r#"{{"errors":[{{"path":"pkg","error":"{why}"}}]}}"#)
            } else {
                r#"{"connections":{"D":{"connected":true}}}"#.to_owned()
            })
        });
        let Some((progress, _seen_tx)) = progress(dir.path(), at.path(), answers).await else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let settle = async || progress.settle(5, &[], Duration::from_millis(50)).await.unwrap();
        assert!(!settle().await.settled, "the file is one that is synced");
        let ignore = ksync_tree::Ignore::with_defaults(&["*.log".to_owned()]).unwrap();
        progress.lead.set_ignore(Arc::new(ignore));
        let told = settle().await;
        assert!(told.settled && told.errors.is_empty(), "{told:?}");
    }

    #[test]
    fn only_what_stands_for_a_while_is_news() {
        let (mut failing, begin) = (Failing::default(), tokio::time::Instant::now());
        let [none, a, b] = [vec![], vec!["a".to_owned()], vec!["b".to_owned()]];
        let mut stand = |errors: &[String], after: u32| failing.stand(errors, begin + STANDING * after);
        assert!(!stand(&none, 0) && stand(&none, 1) && !stand(&a, 2));
        assert!(!stand(&b, 3), "something else fails, from now on");
        assert!(stand(&b, 4) && !stand(&none, 5) && stand(&none, 6), "an end stands, too");
    }

    #[test]
    fn only_a_complete_idle_folder_becomes_two_way() {
        let idle = FolderStatus { state: "idle".into(), ..FolderStatus::default() };
        assert_eq!(not_proven(&idle, 0), None);
        let needs = FolderStatus { need_total_items: 3, ..idle.clone() };
        assert_eq!(not_proven(&needs, 3), None, "what stays counts as done");
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
            assert_eq!(not_proven(&status, 0).as_deref(), Some(reason));
        }
    }
}
