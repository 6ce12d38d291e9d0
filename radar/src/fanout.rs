//! From a folder's lead to the containers that follow it: each completed change, in order.
//!
//! Invariant: nothing is deleted in a follower but what was in the lead's folder before and was deleted there, by
//! the client or by a living lead. What a follower has of its own stays. Each file lands whole (the tree crate's
//! temp and rename).

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use ksync_proto::radar::{ItemFinished, session_event::Event};
use ksync_tree::{
    DifferenceKind, Ignore, ListOptions, Listing, Removed, copy_entry, differences, list, remove_entry,
};
use tokio::sync::{mpsc, watch};

use crate::{attach::Attachment, link::Link, mountinfo::below, session::Sink, status::sentence};

/// Jobs that go together.
const TOGETHER: usize = 256;

/// Something to be done in the followers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// An entry is complete in the lead; how it came to be, as syncthing names it.
    Copy {
        /// Relative path.
        path: String,
        /// update, metadata.
        action: String,
    },
    /// An entry was deleted in the lead.
    Remove {
        /// Relative path.
        path: String,
    },
    /// Make followers equal: the one with this attachment id, or all.
    Reconcile(Option<String>),
}

/// The containers that follow.
pub(crate) type Followers = Arc<Mutex<Vec<Arc<Attachment>>>>;

/// The followers of the moment.
pub(crate) fn snapshot(followers: &Followers) -> Vec<Arc<Attachment>> {
    followers.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The queue in front of the worker.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    jobs_tx: mpsc::UnboundedSender<Job>,
    pending: Arc<AtomicUsize>,
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
}

/// What the worker needs.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Where changes come from.
    pub(crate) lead: Arc<Attachment>,
    /// Where they go.
    pub(crate) followers: Followers,
    /// The folder's syncthing.
    pub(crate) link: Arc<Link>,
    /// The folder's id.
    pub(crate) folder: String,
    /// Who is told.
    pub(crate) sink: Sink,
    /// Counts up when jobs were done.
    pub(crate) progress_tx: watch::Sender<u64>,
}

impl Worker {
    /// Starts working; ends when the queue is dropped.
    pub(crate) fn spawn(self) -> Queue {
        let (jobs_tx, jobs_rx) = mpsc::unbounded_channel();
        let pending = Arc::new(AtomicUsize::new(0));
        tokio::spawn(self.run(jobs_rx, Arc::clone(&pending)));
        Queue { jobs_tx, pending }
    }

    async fn run(self, mut jobs_rx: mpsc::UnboundedReceiver<Job>, pending: Arc<AtomicUsize>) {
        let known = Arc::new(Mutex::new(HashSet::new()));
        let mut jobs = Vec::new();
        while jobs_rx.recv_many(&mut jobs, TOGETHER).await > 0 {
            let count = jobs.len();
            let own = if jobs.iter().any(|job| matches!(job, Job::Reconcile(_))) {
                self.leads_own().await
            } else {
                HashSet::new()
            };
            let work = Work {
                lead: Arc::clone(&self.lead),
                followers: snapshot(&self.followers),
                sink: self.sink.clone(),
                known: Arc::clone(&known),
                own,
            };
            let jobs = std::mem::take(&mut jobs);
            if let Err(error) = tokio::task::spawn_blocking(move || work.all(jobs)).await {
                tracing::error!(folder = self.folder, %error, "copy to followers");
            }
            pending.fetch_sub(count, Ordering::SeqCst);
            self.progress_tx.send_modify(|n| *n += 1);
        }
    }

    /// What only the lead has: it is not the folder's, so not the followers'.
    async fn leads_own(&self) -> HashSet<String> {
        match self.link.client.local_changed(&self.folder).await {
            Ok(paths) => paths.into_iter().collect(),
            Err(error) => {
                tracing::warn!(
                    folder = self.folder,
                    error = &error as &dyn std::error::Error,
                    "ask what differs"
                );
                HashSet::new()
            }
        }
    }
}

struct Work {
    lead: Arc<Attachment>,
    followers: Vec<Arc<Attachment>>,
    sink: Sink,
    known: Arc<Mutex<HashSet<String>>>,
    own: HashSet<String>,
}

impl Work {
    fn all(&self, jobs: Vec<Job>) {
        for job in jobs {
            match job {
                Job::Copy { path, action } => {
                    self.know(path.clone());
                    self.each(|follower| self.copy(follower, &path, &action));
                }
                Job::Remove { path } => self.each(|follower| self.remove(follower, &path)),
                Job::Reconcile(only) => self.each(|follower| {
                    if only.as_ref().is_none_or(|id| *id == follower.id) {
                        self.reconcile(follower);
                    }
                }),
            }
        }
    }

    fn each(&self, work: impl Fn(&Attachment)) {
        for follower in &self.followers {
            if follower.life.alive() {
                work(follower);
            }
        }
    }

    fn know(&self, path: String) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
    }

    fn tell(&self, follower: &Attachment, path: &str, action: &str, error: Option<String>) {
        if let Some(error) = &error {
            tracing::warn!(attachment = follower.id, path, error, "copy to a follower");
        }
        self.sink.send(Event::ItemFinished(ItemFinished {
            attachment_id: follower.id.clone(),
            path: path.to_owned(),
            action: action.to_owned(),
            error: error.unwrap_or_default(),
        }));
    }

    fn copy(&self, follower: &Attachment, path: &str, action: &str) {
        if follower.about.excludes(path) {
            return;
        }
        match copy_entry(&self.lead.root, &follower.root, path) {
            Ok(()) => self.tell(follower, path, action, None),
            // Gone again in the lead: the event that says so follows.
            Err(error) if error.is_not_found() => {}
            Err(error) => self.tell(follower, path, action, Some(sentence(&error))),
        }
    }

    fn remove(&self, follower: &Attachment, path: &str) {
        if follower.about.excludes(path) {
            return;
        }
        let error = match remove_entry(&follower.root, path) {
            Ok(Removed::NotEmpty) => Some(format!("`{path}` has content of its own in this container")),
            Ok(_) => None,
            Err(error) if error.is_not_found() => None,
            Err(error) => Some(sentence(&error)),
        };
        self.tell(follower, path, "delete", error);
    }

    fn reconcile(&self, follower: &Attachment) {
        let (lead, there) = match (self.listing(&self.lead, follower), self.listing(follower, follower)) {
            (Ok(lead), Ok(there)) => (lead, there),
            (Err(error), _) | (_, Err(error)) => {
                return self.tell(follower, ".", "update", Some(sentence(&error)));
            }
        };
        let unknown = |path: &str| lead.skipped.iter().any(|skipped| below(&skipped.path, path).is_some());
        let mut gone = Vec::new();
        for difference in differences(&lead.entries, &there.entries) {
            let path = difference.path;
            if difference.kind == DifferenceKind::OnlyInB {
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&path);
                if known && !unknown(&path) && self.lead.life.alive() {
                    gone.push(path);
                }
            } else if !self.own.contains(&path) {
                self.copy(follower, &path, "update");
            }
        }
        for path in gone.iter().rev() {
            self.remove(follower, path);
        }
        for entry in lead.entries {
            if !self.own.contains(&entry.path) {
                self.know(entry.path);
            }
        }
    }

    fn listing(&self, of: &Attachment, follower: &Attachment) -> Result<Listing, ksync_tree::Error> {
        let ignore = Ignore::new(&follower.ignore())?;
        let mut exclude = self.lead.about.excluded();
        exclude.extend(follower.about.excluded());
        list(&of.root, &ListOptions { hash: false, ignore: &ignore, exclude: &exclude })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        fs,
        path::Path,
        sync::{Arc, Mutex},
    };

    use jiff::Timestamp;
    use ksync_proto::radar::{SessionEvent, session_event::Event};
    use tokio::sync::mpsc;

    use super::{Job, Sink, Work};
    use crate::{
        attach::{Attachment, Claim},
        mount::directory::open_directory,
        pidfd::Life,
        runtime::ContainerId,
    };

    /// A directory of this machine as if it were a container's; none where mounts can't be cloned.
    async fn attached(id: &str, path: &Path) -> Option<Arc<Attachment>> {
        let pid = i32::try_from(std::process::id()).unwrap();
        let directory = open_directory(pid, &path.display().to_string()).await.ok()?;
        let claim = Claim {
            session: "s".into(),
            holder: "u@m".into(),
            since: Timestamp::UNIX_EPOCH,
            folder: "f".into(),
            container: ContainerId::parse("docker://a").unwrap(),
            path: directory.path.clone(),
            identity: directory.identity,
        };
        Some(Arc::new(Attachment::new(id.into(), claim, Life::of(pid).unwrap(), directory)))
    }

    fn told(events_rx: &mut mpsc::Receiver<SessionEvent>) -> Vec<(String, String, bool)> {
        let mut told = Vec::new();
        while let Ok(SessionEvent { event: Some(Event::ItemFinished(item)) }) = events_rx.try_recv() {
            told.push((item.path, item.action, item.error.is_empty()));
        }
        told
    }

    #[tokio::test]
    async fn followers_get_what_the_folder_has_and_keep_what_is_theirs() {
        let (lead_dir, follower_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (lead_path, path) = (lead_dir.path(), follower_dir.path());
        let (Some(lead), Some(follower)) = (attached("l", lead_path).await, attached("f", path).await) else {
            return tracing::warn!("SKIPPED: mounts can't be cloned here");
        };
        let (sink, (events_tx, mut events_rx)) = (Sink::default(), mpsc::channel(64));
        sink.switch(Some(events_tx), "");
        let work = Work {
            lead,
            followers: vec![follower],
            sink,
            known: Arc::new(Mutex::new(HashSet::new())),
            own: HashSet::from(["lead.pid".to_owned()]),
        };
        fs::create_dir_all(lead_path.join("d")).unwrap();
        fs::write(lead_path.join("d/x"), "x").unwrap();
        fs::write(lead_path.join("lead.pid"), "1").unwrap();
        fs::create_dir_all(path.join("cache")).unwrap();
        fs::write(path.join("cache/own"), "own").unwrap();
        fs::write(path.join("app.log"), "own").unwrap();

        let update = |path: &str| Job::Copy { path: path.to_owned(), action: "update".to_owned() };
        let done = |path: &str, action: &str, well| (path.to_owned(), action.to_owned(), well);
        work.all(vec![update("d"), update("d/x"), update("vanished")]);
        assert_eq!(told(&mut events_rx), [done("d", "update", true), done("d/x", "update", true)]);
        assert_eq!(fs::read_to_string(path.join("d/x")).unwrap(), "x");

        // Missed: a change, a new file and a deletion. Not the folder's: the lead's own and the follower's own.
        fs::write(lead_path.join("d/x"), "longer").unwrap();
        fs::write(lead_path.join("d/y"), "y").unwrap();
        work.all(vec![Job::Reconcile(Some("other".to_owned()))]);
        assert!(!path.join("d/y").exists());
        work.all(vec![Job::Reconcile(None)]);
        assert_eq!(fs::read_to_string(path.join("d/x")).unwrap(), "longer");
        assert!(path.join("d/y").exists() && !path.join("lead.pid").exists());
        fs::remove_file(lead_path.join("d/y")).unwrap();
        work.all(vec![Job::Reconcile(Some("f".to_owned()))]);
        assert!(!path.join("d/y").exists());
        assert!(path.join("cache/own").exists() && path.join("app.log").exists());
        told(&mut events_rx);

        // A directory that holds something of the follower's own stays, and that is said.
        let remove = |path: &str| Job::Remove { path: path.to_owned() };
        work.all(vec![remove("d/x"), remove("d"), remove("cache"), remove("missing")]);
        assert_eq!(
            told(&mut events_rx),
            [
                done("d/x", "delete", true),
                done("d", "delete", true),
                done("cache", "delete", false),
                done("missing", "delete", true)
            ]
        );
        assert!(!path.join("d").exists() && path.join("cache/own").exists());
    }
}
