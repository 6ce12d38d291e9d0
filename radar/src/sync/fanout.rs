//! From a folder's lead to the containers that follow it: each completed change, in order.
//!
//! Invariant: a job is pending until all followers have what it brings, or the failure is noted; a failure stands
//! until a later try goes well or its follower leaves. What is the lead's own is asked for after the directories
//! were compared and scanned, and while it can't be known nothing is made equal.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    container::attachment::Attachment,
    sync::{
        root_check::LeadRoot,
        session::Sink,
        stage_times::{Stage, StageTimes},
    },
};
use ksync_common::{Backoff, chain};

mod copier;
mod failures;
mod followers;
mod job;

pub(crate) use followers::{Followers, snapshot};
pub(crate) use job::{Job, Target};

use copier::{Copier, Plan};
use failures::Failures;

/// Jobs that go together.
const TOGETHER: usize = 256;
/// After so many, what they took in memory is given back.
const MANY: usize = 64;
/// First wait before something that failed is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest such wait.
const SLOWEST_RETRY: Duration = Duration::from_secs(30);
/// More paths than this are looked at by scanning the whole folder.
const SCANNED: usize = 512;

/// The queue in front of the worker.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    /// Without a bound: a job is a path that syncthing has just finished, and a folder that can't keep up with syncthing's
    /// events hears of a gap, which is one job for all.
    jobs_tx: mpsc::UnboundedSender<Job>,
    pending: Arc<AtomicUsize>,
    failures: Failures,
}

impl Queue {
    /// Adds a job. folder --jobs_tx--> worker.
    pub(crate) fn push(&self, job: Job) {
        self.pending.fetch_add(1, Ordering::SeqCst);
        if self.jobs_tx.send(job).is_err() {
            tracing::debug!("a change for followers of a folder that has ended");
        }
    }

    /// How many jobs are not done.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }

    /// What these followers lack, one sentence each.
    pub(crate) fn failures(&self, followers: &[Arc<Attachment>]) -> Vec<String> {
        let failures = self.failures.lock();
        let of = |id: &str| followers.iter().find(|follower| follower.id == id);
        failures
            .iter()
            .filter_map(|((id, path), failure)| {
                let claim = &of(id)?.claim;
                let who = if claim.pod.is_empty() {
                    format!("container `{}`", claim.container)
                } else {
                    format!("pod `{}`", claim.pod)
                };
                Some(format!("`{path}` in {who}: {}", failure.sentence))
            })
            .collect()
    }
}

/// What the worker needs.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The lead, where changes come from, and the folder's syncthing.
    pub(crate) lead_root: LeadRoot,
    /// Where they go.
    pub(crate) followers: Followers,
    /// The folder's id.
    pub(crate) folder: String,
    /// Who is told.
    pub(crate) sink: Sink,
    /// Counts up when jobs were done.
    pub(crate) advances_tx: watch::Sender<u64>,
    /// When jobs were done.
    pub(crate) stage_times: StageTimes,
}

impl Worker {
    /// Starts working; ends when the queue is dropped.
    pub(crate) fn spawn(self) -> Queue {
        let (jobs_tx, jobs_rx) = mpsc::unbounded_channel();
        let (pending, failures) = (Arc::new(AtomicUsize::new(0)), Failures::default());
        tokio::spawn(self.run(jobs_rx, Arc::clone(&pending), failures.clone()));
        Queue { jobs_tx, pending, failures }
    }

    async fn run(
        self,
        mut jobs_rx: mpsc::UnboundedReceiver<Job>,
        pending: Arc<AtomicUsize>,
        failures: Failures,
    ) {
        let known = Arc::new(Mutex::new(HashSet::new()));
        let mut backoff = Backoff::new(FIRST_RETRY, SLOWEST_RETRY);
        let mut retry_at: Option<Instant> = None;
        // What could not be begun: it stays pending.
        let mut put_off: Vec<Job> = Vec::new();
        let mut jobs = Vec::new();
        loop {
            tokio::select! {
                count = jobs_rx.recv_many(&mut jobs, TOGETHER) => if count == 0 {
                    return;
                },
                () = sleep_until(retry_at) => {}
            }
            let retry = retry_at.is_some_and(|at| at <= Instant::now());
            let followers = snapshot(&self.followers);
            failures.retain(&followers);
            let copier = Arc::new(Copier {
                lead: Arc::clone(&self.lead_root.lead),
                followers,
                sink: self.sink.clone(),
                known: Arc::clone(&known),
                failures: failures.clone(),
            });
            let (mut whole, single): (Vec<Job>, Vec<Job>) =
                std::mem::take(&mut jobs).into_iter().partition(|job| matches!(job, Job::Reconcile(_)));
            let again = if retry { failures.again() } else { Vec::new() };
            let (unequal, again): (Vec<_>, Vec<_>) =
                again.into_iter().partition(|(_, job)| matches!(job, Job::Reconcile(_)));
            let mut done = single.len();
            // Where something went there is room again for what failed.
            let freed = single.iter().any(|job| matches!(job, Job::Remove { .. }));
            if !single.is_empty() || !again.is_empty() {
                let copier = Arc::clone(&copier);
                self.blocking(move || {
                    copier.run(&single);
                    copier.retry(&again);
                    if single.len() >= MANY {
                        ksync_tree::give_back();
                    }
                })
                .await;
                self.stage_times.note(Stage::Copied);
            }
            if retry {
                whole.append(&mut put_off);
            }
            let targets: Vec<Job> =
                whole.iter().cloned().chain(unequal.into_iter().map(|(_, job)| job)).collect();
            if !targets.is_empty() {
                match self.make_equal(&copier, targets).await {
                    Ok(()) => done += whole.len(),
                    Err(reason) => {
                        tracing::warn!(folder = self.folder, reason, "making followers equal is put off");
                        put_off.append(&mut whole);
                    }
                }
            }
            retry_at = if put_off.is_empty() && failures.lock().is_empty() {
                backoff.reset();
                None
            } else if freed {
                backoff.reset();
                Some(Instant::now() + backoff.delay())
            } else if retry || retry_at.is_none() {
                Some(Instant::now() + backoff.delay())
            } else {
                retry_at
            };
            pending.fetch_sub(done, Ordering::SeqCst);
            self.advances_tx.send_modify(|n| *n += 1);
        }
    }

    /// Compares first, then asks what is the lead's own: what it did before the comparison is known by then.
    async fn make_equal(&self, copier: &Arc<Copier>, jobs: Vec<Job>) -> Result<(), String> {
        let planning = Arc::clone(copier);
        let plans = self.blocking(move || planning.plans(&jobs)).await.unwrap_or_default();
        let mut differing: Vec<String> = plans.iter().flat_map(Plan::paths).map(str::to_owned).collect();
        differing.sort_unstable();
        differing.dedup();
        let own = if differing.is_empty() { HashSet::new() } else { self.leads_own(differing).await? };
        let copier = Arc::clone(copier);
        self.blocking(move || {
            for plan in plans {
                copier.carry_out(plan, &own);
            }
            ksync_tree::give_back();
        })
        .await;
        Ok(())
    }

    /// What only the lead has or lacks: it is not the folder's, so not the followers'.
    async fn leads_own(&self, differing: Vec<String>) -> Result<HashSet<String>, String> {
        self.lead_root.check().await.map_err(|lost| lost.to_string())?;
        let client = &self.lead_root.syncthing.client;
        // None means all of it.
        let subs = if differing.len() > SCANNED { Vec::new() } else { differing };
        client.scan(&self.folder, &subs).await.map_err(|error| chain(&error))?;
        let paths = client.local_changed(&self.folder).await.map_err(|error| chain(&error))?;
        Ok(paths.into_iter().collect())
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let done = tokio::task::spawn_blocking(work).await;
        done.inspect_err(|error| tracing::error!(folder = self.folder, %error, "copy to followers")).ok()
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use tokio::sync::watch;

    use super::{Job, Target, Worker};
    use crate::{
        container::attachment::fake::attached,
        supervisor::node_syncthing::fake::{Answers, node_syncthing},
        sync::{root_check::LeadRoot, session::Sink, stage_times::StageTimes},
    };

    #[tokio::test]
    async fn while_it_is_unknown_what_is_the_leads_own_nothing_is_made_equal() {
        let [dir, lead_dir, follower_dir] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let lead = attached("l", lead_dir.path()).await;
        let (Some(lead), Some(follower)) = (lead, attached("f", follower_dir.path()).await) else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        for name in ["lead.pid", "source"] {
            fs::write(lead_dir.path().join(name), "1").unwrap();
        }
        fs::write(follower_dir.path().join("lead.pid"), "own").unwrap();
        let well = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&well);
        let answers: Answers = Arc::new(move |call| {
            let own = r#"{"files":[{"name":"lead.pid"}]}"#.to_owned();
            if call.starts_with("GET db/localchanged") {
                now.load(Ordering::SeqCst).then_some(own)
            } else {
                Some(String::new())
            }
        });
        // In the view of this process the mount point is the directory itself.
        let mount_point = lead_dir.path().to_owned();
        let (advances_tx, mut advances_rx) = watch::channel(0);
        let queue = Worker {
            lead_root: LeadRoot { lead, syncthing: node_syncthing(dir.path(), answers), mount_point },
            followers: Arc::new(Mutex::new(vec![follower])),
            folder: "f".into(),
            sink: Sink::default(),
            advances_tx,
            stage_times: StageTimes::default(),
        }
        .spawn();
        queue.push(Job::Reconcile(Target::All));
        advances_rx.changed().await.unwrap();
        let there = |name: &str| fs::read_to_string(follower_dir.path().join(name)).unwrap_or_default();
        assert_eq!((queue.pending(), there("lead.pid"), there("source")), (1, "own".into(), String::new()));
        well.store(true, Ordering::SeqCst);
        tokio::time::timeout(Duration::from_secs(5), async {
            while queue.pending() > 0 {
                advances_rx.changed().await.unwrap();
            }
        })
        .await
        .unwrap();
        assert_eq!((there("lead.pid"), there("source")), ("own".into(), "1".into()));
    }
}
