//! Operations under way: their contents are fetched, and then they are handed to the side that carries them out.
//!
//! Invariant: a job is known from its beginning until its answer, or until its attachment has ended.

use std::{collections::HashMap, sync::Arc};

use ksync_endpoint::{Content, Driver, HeldFile, Input, Job as HereJob, Output};
use ksync_merge::{Keep, Op, Side};
use ksync_tree::{Entry, Kind, Root, Staging, TEMP_PREFIX, TEMP_SUFFIX};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    contents::Contents,
    far::{Far, FarContent, FromFar, ToFar},
    keep::Keeper,
    safekeeping::{Safekeeping, Told},
    transfer,
};

/// A small file's content, or why it could not be read.
pub(crate) type SmallContent = Result<Arc<[u8]>, String>;

/// Whose a displaced file is: a container's, by name and attachment; none for one of ours.
pub(crate) type Whose = Option<(Arc<str>, u64)>;

/// What the engine hears of.
#[derive(Debug)]
pub(crate) enum Event {
    Here(Output),
    /// None at the end of the attachment.
    Far(Arc<str>, u64, Option<FromFar>),
    /// Contents of small local files, for jobs.
    Read(Vec<(u64, SmallContent)>),
    /// The content of a large local file is beside its place in a container.
    StagedThere(u64, Result<(), String>),
    /// A container's content is beside its place here.
    StagedHere(u64, Result<Box<Staging>, String>),
    /// A displaced file is in safety, or why it is not.
    Kept(Whose, HeldFile, Result<(), String>),
}

/// An operation that is under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) op: Op,
    /// The way to its container.
    pub(crate) far: Arc<dyn Far>,
    /// Permits for contents that go that way in pieces.
    pub(crate) large: Arc<Semaphore>,
}

/// To a container and back.
struct Way {
    far: Arc<dyn Far>,
    large: Arc<Semaphore>,
}

/// All operations that are under way.
pub(crate) struct Dispatcher {
    pub(crate) here: Driver,
    pub(crate) here_root: Arc<Root>,
    pub(crate) inline: u64,
    pub(crate) keeper: Arc<dyn Keeper>,
    pub(crate) contents: Contents,
    pub(crate) events_tx: mpsc::Sender<Event>,
    jobs: HashMap<u64, Job>,
    /// Displaced local files.
    pub(crate) held: Safekeeping,
    last_number: u64,
    here_in_flight: usize,
}

impl Dispatcher {
    pub(crate) fn new(
        here: Driver,
        here_root: Arc<Root>,
        inline: u64,
        keeper: Arc<dyn Keeper>,
        events_tx: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            here,
            here_root,
            inline,
            keeper,
            contents: Contents::default(),
            events_tx,
            jobs: HashMap::new(),
            held: Safekeeping::default(),
            last_number: 0,
            here_in_flight: 0,
        }
    }

    /// Passes on what a container tells, and the end of it.
    pub(crate) fn listen(&self, name: Arc<str>, generation: u64, mut from: mpsc::Receiver<FromFar>) {
        let events_tx = self.events_tx.clone();
        tokio::spawn(async move {
            loop {
                let message = from.recv().await;
                let over = message.is_none();
                let sent = events_tx.send(Event::Far(Arc::clone(&name), generation, message)).await;
                if over || sent.is_err() {
                    return;
                }
            }
        });
    }

    /// The local directory was made anew: this is it.
    pub(crate) fn replace_root(&mut self, root: Root) {
        match root.try_clone() {
            Ok(clone) => {
                self.here_root = Arc::new(clone);
                self.here.send(Input::Root(root));
            }
            Err(error) => {
                tracing::error!(error = ksync_common::chain(&error), "open the local directory once more");
            }
        }
    }

    /// Of these containers and attachments, those of which nothing is on its way here any more.
    pub(crate) fn through<'m>(&self, all: impl Iterator<Item = (&'m Arc<str>, u64)>) -> Vec<Arc<str>> {
        let comes = |name: &str, generation| {
            let of = |job: &Job| &*job.name == name && job.generation == generation;
            self.jobs.values().any(|job| of(job) && job.op.side == Side::Here)
        };
        all.filter(|(name, generation)| !comes(name, *generation)).map(|(name, _)| Arc::clone(name)).collect()
    }

    /// A number that was never used.
    pub(crate) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// A job is over.
    pub(crate) fn over(&mut self, number: u64) -> Option<Job> {
        let job = self.jobs.remove(&number)?;
        self.here_in_flight -= usize::from(job.op.side == Side::Here);
        Some(job)
    }

    /// Whether nothing is done here now.
    pub(crate) fn rests_here(&self) -> bool {
        self.here_in_flight == 0
    }

    /// Nobody will tell what came of the jobs in a container.
    pub(crate) fn forget(&mut self, name: &str) {
        self.jobs.retain(|_, job| &*job.name != name || job.op.side == Side::Here);
    }

    /// The content that a job waits for is there.
    pub(crate) fn read(&mut self, number: u64, content: Arc<[u8]>) {
        self.remember(number, &content);
        self.send_job(number, FarContent::Whole(content));
    }

    fn remember(&mut self, number: u64, content: &Arc<[u8]>) {
        let hash = self.jobs.get(&number).and_then(|job| job.op.new.as_ref()?.hash);
        if let Some(hash) = hash {
            self.contents.put(hash, Arc::clone(content));
        }
    }

    /// Begins operations.
    pub(crate) fn dispatch(&mut self, begun: Vec<Job>) {
        let mut unread = Vec::new();
        for job in begun {
            let number = self.number();
            let (op, way) =
                (job.op.clone(), Way { far: Arc::clone(&job.far), large: Arc::clone(&job.large) });
            self.jobs.insert(number, job);
            match op.side {
                Side::Here => {
                    self.here_in_flight += 1;
                    self.begin_here(number, way, &op);
                }
                Side::There => self.begin_there(number, way, &op, &mut unread),
            }
        }
        if !unread.is_empty() {
            let (root, inline, events_tx) =
                (Arc::clone(&self.here_root), self.inline, self.events_tx.clone());
            tokio::task::spawn_blocking(move || {
                let mut unread = unread.into_iter().peekable();
                while unread.peek().is_some() {
                    let some = unread.by_ref().take(64).collect();
                    let read = transfer::read_small(&root, some, inline);
                    if events_tx.blocking_send(Event::Read(read)).is_err() {
                        return;
                    }
                }
            });
        }
    }

    fn begin_there(&mut self, number: u64, way: Way, op: &Op, unread: &mut Vec<(u64, Arc<str>, Arc<Entry>)>) {
        let Some(file) = content_wanted(op) else { return self.send_job(number, FarContent::None) };
        if let Some(content) = file.hash.and_then(|hash| self.contents.get(&hash)) {
            return self.send_job(number, FarContent::Whole(content));
        }
        if file.size <= self.inline {
            return unread.push((number, Arc::clone(&op.path), Arc::clone(file)));
        }
        let (root, here, events_tx) =
            (Arc::clone(&self.here_root), self.here.clone(), self.events_tx.clone());
        let (path, file) = (Arc::clone(&op.path), Arc::clone(file));
        tokio::spawn(async move {
            let _permit = way.large.acquire().await;
            let pieces = transfer::read_large(root, &here, &path, &file);
            let staged = way.far.stage(number, &path, &file, pieces).await;
            // The engine is gone when it does not listen.
            let _ = events_tx.send(Event::StagedThere(number, staged)).await;
        });
    }

    /// Hands a job to its container.
    pub(crate) fn send_job(&self, number: u64, content: FarContent) {
        let Some(job) = self.jobs.get(&number) else { return };
        let Op { path, old, new, keep, .. } = job.op.clone();
        job.far.send(ToFar::Job { number, path, old, new, content, keep: keep.is_some() });
    }

    fn begin_here(&mut self, number: u64, way: Way, op: &Op) {
        let Some(file) = content_wanted(op) else { return self.do_here(number, Content::None) };
        if let Some(content) = file.hash.and_then(|hash| self.contents.get(&hash)) {
            return self.do_here(number, Content::Whole(content));
        }
        let (root, path, file) = (Arc::clone(&self.here_root), Arc::clone(&op.path), Arc::clone(file));
        let events_tx = self.events_tx.clone();
        tokio::spawn(async move {
            let _permit = way.large.acquire().await;
            let staged = match way.far.read(&path, &file).await {
                Ok(mut pieces) => {
                    let staging = move || transfer::stage(&root, &path, &file, &mut pieces).map(Box::new);
                    tokio::task::spawn_blocking(staging).await.unwrap_or_else(|error| Err(error.to_string()))
                }
                Err(reason) => Err(reason),
            };
            let _ = events_tx.send(Event::StagedHere(number, staged)).await;
        });
    }

    /// Hands a job to the local side.
    pub(crate) fn do_here(&self, number: u64, content: Content) {
        let Some(job) = self.jobs.get(&number) else { return };
        let Op { path, old, new, keep, .. } = job.op.clone();
        let keep = keep.is_some() && old.as_ref().is_some_and(|old| old.kind != Kind::Dir);
        self.here.send(Input::Job(number, HereJob { path, old, new, content, keep }));
    }

    /// Brings a displaced local file to safety.
    pub(crate) fn keep_here(&mut self, file: HeldFile) {
        let why = match self.held.told(file.number) {
            Told::Keep(why) => why,
            Told::Wait => return,
            Told::Release => return self.here.send(Input::Release(file.number)),
        };
        let why = kept_as(&file, why);
        let (keeper, root, events_tx) =
            (Arc::clone(&self.keeper), Arc::clone(&self.here_root), self.events_tx.clone());
        tokio::task::spawn_blocking(move || {
            let path = kept_path(&file);
            let kept = keeper.keep(why, &path, &mut |place| {
                transfer::keep_here(&root, &file.at, place, &path)
                    .map_err(|error| ksync_common::chain(&error))
            });
            let _ = events_tx.blocking_send(Event::Kept(None, file, kept));
        });
    }

    /// Brings a container's displaced file to safety.
    pub(crate) fn keep_there(&self, of: (Arc<str>, u64), far: &Arc<dyn Far>, why: Keep, file: HeldFile) {
        let why = kept_as(&file, why);
        let reading = far.read(&file.at, &file.entry);
        let of = Some(of);
        let (keeper, events_tx) = (Arc::clone(&self.keeper), self.events_tx.clone());
        tokio::spawn(async move {
            let kept = match reading.await {
                Ok(mut pieces) => {
                    let file = file.clone();
                    let keeping = move || {
                        let path = kept_path(&file);
                        keeper.keep(why, &path, &mut |place| {
                            transfer::keep_there(place, &path, &file.entry, &mut pieces)
                        })
                    };
                    tokio::task::spawn_blocking(keeping).await.unwrap_or_else(|error| Err(error.to_string()))
                }
                Err(reason) => Err(reason),
            };
            let _ = events_tx.send(Event::Kept(of, file, kept)).await;
        });
    }
}

/// Under which path a displaced file is kept. Of one that an earlier run has left nobody knows where it was.
fn kept_path(file: &HeldFile) -> String {
    if !file.path.is_empty() {
        return file.path.clone();
    }
    let (dir, name) = file.at.rsplit_once('/').map_or(("", &*file.at), |(dir, name)| (dir, name));
    let number = name.trim_start_matches(TEMP_PREFIX).trim_end_matches(TEMP_SUFFIX);
    let slash = if dir.is_empty() { "" } else { "/" };
    format!("{dir}{slash}recovered-{number}")
}

/// As what a displaced file is kept: where somebody has written it meanwhile, both sides have changed it.
fn kept_as(file: &HeldFile, why: Keep) -> Keep {
    if file.path.is_empty() {
        Keep::Taken
    } else if file.changed {
        Keep::Conflict
    } else {
        why
    }
}

/// The file whose content an operation needs.
fn content_wanted(op: &Op) -> Option<&Arc<Entry>> {
    let new = op.new.as_ref().filter(|new| new.kind == Kind::File)?;
    let has = op.old.as_ref().is_some_and(|old| {
        old.kind == Kind::File && old.size == new.size && old.hash.is_some() && old.hash == new.hash
    });
    (!has).then_some(new)
}
