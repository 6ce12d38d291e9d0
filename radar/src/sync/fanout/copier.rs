//! Copies and deletions in the followers, on a blocking thread.
//!
//! Invariant: nothing is deleted in a follower but what was in the lead's folder before and was deleted there, by
//! the client or by a living lead. What a follower has of its own stays, and what either side ignores or has a mount
//! at is neither copied nor removed. Each file lands whole (the tree crate's temp and rename).

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use ksync_proto::radar::{ItemFinished, session_event::Event};
use ksync_tree::{
    DifferenceKind, ListOptions, Listing, Original, Removed, copy_entry, covers, differences, list,
    stat_entry,
};

use super::{
    failures::Failures,
    job::{Job, Target},
};
use crate::{container::attachment::Attachment, sync::session::Sink};
use ksync_common::chain;

/// What is read for several followers at once: files up to this, together not much more than that.
const SMALL: u64 = 64 << 10;
const TOGETHER: usize = 2 << 20;

pub(super) struct Copier {
    pub(super) lead: Arc<Attachment>,
    pub(super) followers: Vec<Arc<Attachment>>,
    pub(super) sink: Sink,
    /// What has been the folder's.
    pub(super) known: Arc<Mutex<HashSet<String>>>,
    pub(super) failures: Failures,
}

/// What would make a follower equal, before it is known what is the lead's own.
#[derive(Debug)]
pub(super) struct Plan {
    follower: Arc<Attachment>,
    copy: Vec<String>,
    /// Parents first.
    remove: Vec<String>,
    /// All that the lead has.
    seen: Arc<Listing>,
}

/// The lead's listings, by what is ignored and what is left out.
type Leads = HashMap<(Vec<String>, Vec<String>), Arc<Listing>>;

impl Plan {
    /// Where the two differ.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.copy.iter().chain(&self.remove).map(String::as_str)
    }
}

impl Copier {
    /// Does what is about single paths.
    pub(super) fn run(&self, jobs: &[Job]) {
        let mut jobs = jobs.iter().peekable();
        while jobs.peek().is_some() {
            let mut read = 0;
            let mut some: Vec<(&Job, Option<Original>)> = Vec::new();
            while let Some(job) = jobs.next_if(|_| read < TOGETHER) {
                let original = self.original(job);
                read += original.as_ref().map_or(0, Original::size);
                some.push((job, original));
            }
            for follower in &self.followers {
                for (job, original) in some.iter().take_while(|_| follower.life.alive()) {
                    self.run_one(follower, job, original.as_ref());
                }
            }
            for (job, _) in some {
                if let Job::Copy { path, .. } = job {
                    self.note_known(path.clone());
                }
            }
        }
    }

    /// What several followers get is read once. Where it can't be read, the copy says why.
    fn original(&self, job: &Job) -> Option<Original> {
        let Job::Copy { path, .. } = job else { return None };
        if self.followers.len() < 2 || self.lead.leaves_out(path) {
            return None;
        }
        Original::read(&self.lead.root, path, SMALL).ok().flatten()
    }

    /// Tries once more what failed in the follower of this id.
    pub(super) fn retry(&self, jobs: &[(String, Job)]) {
        // A newer job may have settled it meanwhile: an old deletion must not take a new file.
        for (id, job) in jobs.iter().filter(|(id, job)| self.failures.stands(id, job)) {
            for follower in self.alive().filter(|follower| follower.id == *id) {
                self.run_one(follower, job, None);
            }
        }
    }

    fn run_one(&self, follower: &Attachment, job: &Job, original: Option<&Original>) {
        match job {
            Job::Copy { path, action } => self.copy(follower, path, action, original),
            Job::Remove { path } => self.remove(follower, path),
            Job::Reconcile(_) => {}
        }
    }

    fn alive(&self) -> impl Iterator<Item = &Arc<Attachment>> {
        self.followers.iter().filter(|follower| follower.life.alive())
    }

    fn note_known(&self, path: String) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
    }

    /// Tells what did not go well. What did is not told: it would be a message for each file and each follower.
    fn report(&self, follower: &Attachment, path: &str, action: &str, error: String) {
        tracing::warn!(attachment = follower.id, path, error, "copy to a follower");
        self.sink.send(Event::ItemFinished(ItemFinished {
            attachment_id: follower.id.clone(),
            path: path.to_owned(),
            action: action.to_owned(),
            error,
        }));
    }

    fn failed(&self, follower: &Attachment, path: &str, action: &str, error: &ksync_tree::Error, again: Job) {
        let reason = chain(error);
        self.failures.note(&follower.id, path, reason.clone(), again);
        self.report(follower, path, action, reason);
    }

    fn leaves_out(&self, follower: &Attachment, path: &str) -> bool {
        self.lead.leaves_out(path) || follower.leaves_out(path)
    }

    fn copy(&self, follower: &Attachment, path: &str, action: &str, original: Option<&Original>) {
        if self.leaves_out(follower, path) {
            return self.failures.clear(&follower.id, path);
        }
        let copied = match original {
            Some(original) => original.put(&self.lead.root, &follower.root),
            None => copy_entry(&self.lead.root, &follower.root, path),
        };
        match copied {
            Ok(()) => self.failures.clear(&follower.id, path),
            // Gone again in the lead: the event that says so follows.
            Err(error) if error.is_not_found() => self.failures.clear(&follower.id, path),
            // A copy needs room beside the old one. Where syncthing only took note of what was there, none is needed.
            Err(error) if error.is_no_room() && self.has_it(follower, path) => {
                self.failures.clear(&follower.id, path);
            }
            Err(error) => {
                let again = Job::Copy { path: path.to_owned(), action: action.to_owned() };
                self.failed(follower, path, action, &error, again);
            }
        }
    }

    /// Whether a follower has an entry just as the lead has it, to the byte.
    fn has_it(&self, follower: &Attachment, path: &str) -> bool {
        match (stat_entry(&self.lead.root, path, true), stat_entry(&follower.root, path, true)) {
            (Ok(Some(lead)), Ok(Some(there))) => lead.difference(&there).is_none(),
            _ => false,
        }
    }

    fn remove(&self, follower: &Attachment, path: &str) {
        if self.leaves_out(follower, path) {
            return self.failures.clear(&follower.id, path);
        }
        let error = match follower.remove(path) {
            // No failure: what keeps it is the container's own, and stays.
            Ok(Removed::NotEmpty) => Some(format!("`{path}` has content of its own in this container")),
            Err(error) if !error.is_not_found() => {
                let again = Job::Remove { path: path.to_owned() };
                return self.failed(follower, path, "delete", &error, again);
            }
            Ok(_) | Err(_) => None,
        };
        self.failures.clear(&follower.id, path);
        if let Some(error) = error {
            self.report(follower, path, "delete", error);
        }
    }

    /// Compares the lead with the followers that are meant.
    pub(super) fn plans(&self, jobs: &[Job]) -> Vec<Plan> {
        let meant = |id: &str| {
            let of = |job: &Job| matches!(job, Job::Reconcile(target) if target.means(id));
            jobs.iter().any(of)
        };
        let mut leads = Leads::new();
        self.alive()
            .filter(|follower| meant(&follower.id))
            .filter_map(|follower| self.plan(follower, &mut leads))
            .collect()
    }

    fn plan(&self, follower: &Arc<Attachment>, leads: &mut Leads) -> Option<Plan> {
        let listed = self.leads_listing(follower, leads);
        let (lead, there) = match listed.and_then(|lead| Ok((lead, self.listing(follower, follower)?))) {
            Ok(both) => both,
            Err(error) => {
                let again = Job::Reconcile(Target::One(follower.id.clone()));
                self.failed(follower, ".", "update", &error, again);
                return None;
            }
        };
        self.failures.clear(&follower.id, ".");
        let unknown = |path: &str| lead.skipped.iter().any(|skipped| covers(&skipped.path, path));
        let (follower, seen) = (Arc::clone(follower), Arc::clone(&lead));
        let mut plan = Plan { follower, copy: Vec::new(), remove: Vec::new(), seen };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for difference in differences(&lead.entries, &there.entries) {
            let path = difference.path;
            if difference.kind != DifferenceKind::OnlyInB {
                plan.copy.push(path);
            } else if known.contains(&path) && !unknown(&path) {
                plan.remove.push(path);
            }
        }
        Some(plan)
    }

    /// Makes a follower equal but for what is the lead's own: what only it has, and what only it has deleted.
    pub(super) fn carry_out(&self, plan: Plan, own: &HashSet<String>) {
        let Plan { follower, copy, remove, seen } = plan;
        for path in copy.iter().filter(|path| !own.contains(*path)) {
            self.copy(&follower, path, "update", None);
        }
        for path in remove.iter().rev().filter(|path| !own.contains(*path)) {
            // It may be there again by now, and a container that has ended has deleted nothing.
            let missing = matches!(stat_entry(&self.lead.root, path, false), Ok(None));
            if missing && self.lead.life.alive() {
                self.remove(&follower, path);
            }
        }
        for entry in &seen.entries {
            if !own.contains(&entry.path) {
                self.note_known(entry.path.clone());
            }
        }
    }

    /// The lead's listing as a follower is compared with it; the same one for all that leave the same out.
    fn leads_listing(
        &self,
        follower: &Attachment,
        leads: &mut Leads,
    ) -> Result<Arc<Listing>, ksync_tree::Error> {
        let key = (follower.ignore().patterns().to_vec(), self.excluded(follower));
        match leads.entry(key) {
            Entry::Occupied(listing) => Ok(Arc::clone(listing.get())),
            Entry::Vacant(vacant) => {
                Ok(Arc::clone(vacant.insert(Arc::new(self.listing(&self.lead, follower)?))))
            }
        }
    }

    fn excluded(&self, follower: &Attachment) -> Vec<String> {
        [self.lead.about.excluded(), follower.about.excluded()].concat()
    }

    fn listing(&self, of: &Attachment, follower: &Attachment) -> Result<Listing, ksync_tree::Error> {
        let exclude = self.excluded(follower);
        list(&of.root, &ListOptions { hash: false, ignore: &follower.ignore(), exclude: &exclude })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        fs,
        sync::{Arc, Mutex},
    };

    use ksync_proto::radar::{SessionEvent, session_event::Event};
    use ksync_tree::Ignore;
    use tokio::sync::mpsc;

    use super::{Copier, Failures, Job, Sink, Target};
    use crate::{
        container::attachment::{Attachment, fake::attached},
        sync::fanout::Queue,
    };

    fn copier(lead: Arc<Attachment>, follower: Arc<Attachment>) -> (Copier, mpsc::Receiver<SessionEvent>) {
        let (sink, (events_tx, events_rx)) = (Sink::default(), mpsc::channel(64));
        sink.switch(Some(events_tx), "");
        let (known, failures) = (Arc::new(Mutex::new(HashSet::new())), Failures::default());
        (Copier { lead, followers: vec![follower], sink, known, failures }, events_rx)
    }

    fn update(path: &str) -> Job {
        Job::Copy { path: path.to_owned(), action: "update".to_owned() }
    }

    fn remove(path: &str) -> Job {
        Job::Remove { path: path.to_owned() }
    }

    fn make_equal(copier: &Copier, only: Option<&str>, own: &HashSet<String>) {
        for plan in copier.plans(&[Job::Reconcile(only.map_or(Target::All, |id| Target::One(id.to_owned())))])
        {
            copier.carry_out(plan, own);
        }
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
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let (copier, mut events_rx) = copier(lead, follower);
        let own = HashSet::from(["lead.pid".to_owned()]);
        fs::create_dir_all(lead_path.join("d")).unwrap();
        fs::write(lead_path.join("d/x"), "x").unwrap();
        fs::write(lead_path.join("lead.pid"), "1").unwrap();
        fs::create_dir_all(path.join("cache")).unwrap();
        fs::write(path.join("cache/own"), "own").unwrap();
        fs::write(path.join("app.log"), "own").unwrap();

        copier.run(&[update("d"), update("d/x"), update("vanished")]);
        assert_eq!(told(&mut events_rx), []);
        assert_eq!(fs::read_to_string(path.join("d/x")).unwrap(), "x");

        // Missed: a change, a new file and a deletion. Not the folder's: the lead's own and the follower's own.
        fs::write(lead_path.join("d/x"), "longer").unwrap();
        fs::write(lead_path.join("d/y"), "y").unwrap();
        make_equal(&copier, Some("other"), &own);
        assert!(!path.join("d/y").exists());
        make_equal(&copier, None, &own);
        assert_eq!(fs::read_to_string(path.join("d/x")).unwrap(), "longer");
        assert!(path.join("d/y").exists() && !path.join("lead.pid").exists());
        fs::remove_file(lead_path.join("d/y")).unwrap();
        make_equal(&copier, Some("f"), &own);
        assert!(!path.join("d/y").exists());
        assert!(path.join("cache/own").exists() && path.join("app.log").exists());
        told(&mut events_rx);

        // A directory that holds something of the follower's own stays, and that is said.
        copier.run(&[remove("d/x"), remove("d"), remove("cache"), remove("missing")]);
        assert_eq!(
            told(&mut events_rx),
            [("cache".to_owned(), "delete".to_owned(), false)],
            "only what did not go well"
        );
        assert!(!path.join("d").exists() && path.join("cache/own").exists());
    }

    #[tokio::test]
    async fn what_only_the_lead_deleted_stays_in_the_others() {
        let (lead_dir, follower_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (lead_path, path) = (lead_dir.path(), follower_dir.path());
        let (Some(lead), Some(follower)) = (attached("l", lead_path).await, attached("f", path).await) else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        let (copier, _events_rx) = copier(lead, follower);
        for name in ["mine", "folders", "back"] {
            fs::write(lead_path.join(name), "x").unwrap();
        }
        make_equal(&copier, None, &HashSet::new());
        for name in ["mine", "folders", "back"] {
            fs::remove_file(lead_path.join(name)).unwrap();
        }
        let plans = copier.plans(&[Job::Reconcile(Target::All)]);
        assert_eq!(plans[0].paths().collect::<Vec<_>>(), ["back", "folders", "mine"]);
        // Made anew between the comparison and the deed.
        fs::write(lead_path.join("back"), "x").unwrap();
        for plan in plans {
            copier.carry_out(plan, &HashSet::from(["mine".to_owned()]));
        }
        assert!(path.join("mine").exists() && path.join("back").exists() && !path.join("folders").exists());
    }

    #[tokio::test]
    async fn what_is_ignored_is_each_containers_own() {
        let (lead_dir, follower_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (lead_path, path) = (lead_dir.path(), follower_dir.path());
        let (Some(lead), Some(follower)) = (attached("l", lead_path).await, attached("f", path).await) else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        for dir in [lead_path, path] {
            for name in [".git", "logs"] {
                fs::create_dir(dir.join(name)).unwrap();
                fs::write(dir.join(name).join("f"), dir.to_str().unwrap()).unwrap();
            }
        }
        let patterns = Ignore::with_defaults(&["!/logs/kept".to_owned(), "logs".to_owned()]).unwrap();
        follower.set_ignore(Arc::new(patterns));
        let (copier, mut events_rx) = copier(lead, follower);
        let own = fs::read(path.join("logs/f")).unwrap();
        copier.run(&[update(".git/f"), update("logs/f"), remove(".git/f"), remove("logs/f"), remove("logs")]);
        assert!(told(&mut events_rx).is_empty());
        assert_eq!(fs::read(path.join("logs/f")).unwrap(), own);
        assert_eq!(fs::read(path.join(".git/f")).unwrap(), own);
        assert!(copier.lead.leaves_out(".git/index") && !copier.lead.leaves_out("logs/f"));
        // What is taken back in below an ignored directory has to be looked for.
        assert!(copier.lead.is_idle_at(".git") && !copier.followers[0].is_idle_at("logs"));
    }

    #[tokio::test]
    async fn a_copy_that_failed_is_remembered_until_it_goes_well() {
        let (lead_dir, follower_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (lead_path, path) = (lead_dir.path(), follower_dir.path());
        let (Some(lead), Some(follower)) = (attached("l", lead_path).await, attached("f", path).await) else {
            return ksync_skip::skipped("mounts can't be cloned here");
        };
        fs::write(lead_path.join("x"), "1").unwrap();
        // A file can't take the place of a directory with content.
        fs::create_dir(path.join("x")).unwrap();
        fs::write(path.join("x/own"), "").unwrap();
        let followers = vec![Arc::clone(&follower)];
        let (copier, _events_rx) = copier(lead, follower);
        let (jobs_tx, _jobs_rx) = mpsc::unbounded_channel();
        let queue = Queue { jobs_tx, pending: Arc::default(), failures: copier.failures.clone() };
        copier.run(&[update("x")]);
        let failures = queue.failures(&followers);
        assert!(failures.len() == 1 && failures[0].starts_with("`x` in pod `ns/web-1`: "), "{failures:?}");
        // One that left is nobody's trouble.
        assert!(queue.failures(&[]).is_empty());
        copier.retry(&copier.failures.again());
        assert_eq!(queue.failures(&followers).len(), 1);
        fs::remove_dir_all(path.join("x")).unwrap();
        copier.retry(&copier.failures.again());
        assert!(queue.failures(&followers).is_empty() && path.join("x").is_file());
        // A deletion that was overtaken by a newer file is not tried again.
        copier.failures.note("f", "x", "busy".into(), remove("x"));
        let stale = copier.failures.again();
        copier.run(&[update("x")]);
        copier.retry(&stale);
        assert!(path.join("x").is_file());
        copier.failures.note("f", "y", "full".into(), update("y"));
        copier.failures.retain(&[]);
        assert!(copier.failures.again().is_empty());
    }

    #[tokio::test]
    async fn what_a_full_follower_has_already_needs_no_room() {
        use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
        let (lead_dir, follower_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (lead_path, path) = (lead_dir.path(), follower_dir.path());
        if mount("none", path, "tmpfs", MountFlags::empty(), Some(c"size=1m")).is_err() {
            return ksync_skip::skipped("nothing can be mounted here");
        }
        let pair = (attached("l", lead_path).await, attached("f", path).await);
        let failures = match pair {
            (Some(lead), Some(follower)) => {
                let (copier, _events_rx) = copier(lead, follower);
                let write = |byte: u8| fs::write(lead_path.join("x"), vec![byte; 600_000]).unwrap();
                let mut failures = Vec::new();
                for step in [1, 1, 2] {
                    write(step);
                    // As if it were as old as the other one.
                    let file = fs::File::options().write(true).open(lead_path.join("x")).unwrap();
                    file.set_modified(std::time::UNIX_EPOCH).unwrap();
                    copier.run(&[update("x")]);
                    failures.push(copier.failures.again().len());
                }
                failures
            }
            _ => Vec::new(),
        };
        unmount(path, UnmountFlags::DETACH).unwrap();
        if failures.is_empty() {
            return ksync_skip::skipped("mounts can't be cloned here");
        }
        assert_eq!(failures, [0, 0, 1], "copied, there already, no room for other content");
    }
}
