//! Carrying out one operation, by compare-and-swap.

use std::sync::Arc;

use ksync_merge::{Outcome, State, same_content};
use ksync_tree::{
    Entry, Error, Evacuated, Exact, Kind, Known, Old, Removed, Staged, Staging, Swapped, evacuate, look,
    look_into, put_dir, put_symlink, read, remove_entry, remove_known, set_attributes, stat_exact,
};

use crate::look::{Depth, Endpoint, News};

/// A file's content.
#[derive(Debug)]
pub enum Content {
    /// None: no file is made, or one that stands there has it.
    None,
    /// All of it.
    Whole(Arc<[u8]>),
    /// Written already, beside the file's place.
    Staged(Staging),
}

/// What is to be done at one path.
#[derive(Debug)]
pub struct Job {
    /// Which.
    pub path: Arc<str>,
    /// What stands there: nothing else is replaced.
    pub old: State,
    /// What is to stand there.
    pub new: State,
    /// Its content.
    pub content: Content,
    /// Whether what stands there is held until it is in safety.
    pub keep: bool,
}

/// What came of a job.
#[derive(Debug)]
pub struct Applied {
    /// As the merge wants to know it.
    pub outcome: Outcome,
    /// What was found on the way, at this path and others; it may be newer than the outcome.
    pub news: Vec<News>,
    /// Why it failed.
    pub error: Option<String>,
    /// A directory is gone for all that is synced, and stays for what it holds beside that.
    pub shell: bool,
    /// Number of the displaced file, if there is one to wait for.
    pub held: Option<u64>,
}

impl Applied {
    fn new(outcome: Outcome, news: Vec<News>) -> Self {
        Self { outcome, news, error: None, shell: false, held: None }
    }
}

/// Does it.
pub fn apply(endpoint: &mut Endpoint, job: Job) -> Applied {
    Applier(endpoint).apply(job)
}

/// The one who writes into an endpoint's directory.
struct Applier<'e>(&'e mut Endpoint);

impl Applier<'_> {
    fn apply(&mut self, job: Job) -> Applied {
        let path = Arc::clone(&job.path);
        let (old, new) = (short(&job.old), short(&job.new));
        let applied = self.apply_to(&path, job);
        tracing::trace!(path = &*path, old, new, outcome = ?applied.outcome, held = ?applied.held, error = applied.error, "job");
        applied
    }

    fn apply_to(&mut self, path: &Arc<str>, job: Job) -> Applied {
        // For all of it, so that the thread takes it once.
        let _stay = match self.0.root.enter(path) {
            Ok(stay) => stay,
            Err(error) => return failed(ksync_common::chain(&error)),
        };
        if self.0.options.leaves_out_all(path) {
            return failed("it is not synced here".to_owned());
        }
        match self.try_apply(job) {
            Ok(applied) => applied,
            // Its directory is not there (any more).
            Err(error) if error.is_not_found() || matches!(error, Error::NotADirectory { .. }) => {
                self.refused(path)
            }
            Err(error) => {
                let reason = ksync_common::chain(&error);
                let mut applied = match &self.0.options.who {
                    Some(who) if error.is_denied() => failed(format!("{reason}: {who} may not write it")),
                    _ => failed(reason),
                };
                applied.news = self.0.look(path, Depth::Entry);
                applied
            }
        }
    }

    fn try_apply(&mut self, job: Job) -> Result<Applied, Error> {
        let Job { path, old, new, content, keep } = job;
        let hold = if keep { Old::Held } else { Old::Dropped };
        let owner = self.0.options.owner;
        let known = old.as_deref().map_or(Known::Nothing, Known::Entry);
        let Some(new) = new else {
            let Some(old) = old.as_deref() else { return Ok(self.refused(&path)) };
            return self.remove(&path, old, keep, hold);
        };
        if old.as_deref().is_some_and(|old| attributes_only(old, &new)) {
            return self.change_attributes(&path, &new);
        }
        // A directory gives way only when nothing is in it; a shell of one holds nothing that is synced.
        let known = match old.as_deref() {
            Some(dir) if dir.kind == Kind::Dir && new.kind != Kind::Dir => {
                let removed = self.remove(&path, dir, false, Old::Dropped)?;
                if removed.shell {
                    return Ok(failed("a directory is there that holds what is not synced".to_owned()));
                }
                if !matches!(removed.outcome, Outcome::Done(None)) {
                    return Ok(removed);
                }
                Known::Nothing
            }
            None if new.kind == Kind::Dir && self.0.shells.contains(&*path) => Known::Entry(&new),
            _ => known,
        };
        let (mut staged, mut held) = (None, None);
        let swapped = match new.kind {
            Kind::Dir => put_dir(&self.0.root, &path, &new, owner, known, hold)?,
            Kind::Symlink => put_symlink(&self.0.root, &path, &new, owner, known, hold)?,
            Kind::File => {
                let staging = match content {
                    Content::Staged(staging) => staging,
                    Content::Whole(content) => {
                        let mut staging = Staging::new(&self.0.root, &path)?;
                        staging.fill(&content)?;
                        staging
                    }
                    Content::None => return Ok(failed("its content did not come".to_owned())),
                };
                let (swapped, exact) = staging.place(&new, owner, known, hold)?;
                staged = Some(exact);
                swapped
            }
        };
        match swapped {
            Swapped::Refused => return Ok(self.refused(&path)),
            Swapped::Done => {}
            Swapped::Held(displaced) => held = Some(self.0.held.add(displaced, keep)),
        }
        Ok(Applied { held, ..self.done(&path, &new, staged) })
    }

    /// It is done; what stands there now is ours, or somebody was quicker.
    fn done(&mut self, path: &str, new: &Arc<Entry>, staged: Option<Staged>) -> Applied {
        if let Some(state) = self.0.wrote(path, new, staged) {
            return Applied::new(Outcome::Done(state), Vec::new());
        }
        // As far as anybody knows it was there for a moment; what came after it is news.
        let unknown = Exact { size: 0, mtime_ns: 0, ctime_ns: 0, ino: 0, links: 1 };
        let new = match staged {
            Some(Staged { exact, mode }) => {
                &Arc::new(Entry { mode, mtime_ns: exact.mtime_ns, ..Entry::clone(new) })
            }
            None => new,
        };
        self.0.index.put(path, Arc::clone(new), unknown);
        let news = self.0.look(path, Depth::Tree);
        Applied::new(Outcome::Done(Some(Arc::clone(new))), news)
    }

    /// The same of a directory, which was given this `mode`.
    fn done_as(&mut self, path: &str, new: &Arc<Entry>, mode: Option<u32>) -> Applied {
        let looked = look(&self.0.root, path).ok().flatten();
        if looked.is_some_and(|looked| looked.entry.kind == Kind::Dir && Some(looked.entry.mode) == mode) {
            return self.done(path, new, None);
        }
        self.refused(path)
    }

    /// Something else stands there.
    fn refused(&mut self, path: &str) -> Applied {
        let news = self.0.look(path, Depth::Tree);
        Applied::new(Outcome::Refused(self.0.index.state(path)), news)
    }

    /// The directory is not empty: what is new in it is told, without a look at all that is below.
    fn refused_directory(&mut self, path: &str) -> Applied {
        let mut news = self.0.look(path, Depth::Entry);
        let mut todo = self.0.look_into(path, Depth::Entry, &mut news);
        while let Some(dir) = todo.pop() {
            todo.extend(self.0.look_into(&dir, Depth::Tree, &mut news));
        }
        Applied::new(Outcome::Refused(self.0.index.state(path)), news)
    }

    fn remove(&mut self, path: &str, old: &Entry, keep: bool, hold: Old) -> Result<Applied, Error> {
        // What kept it may have gone.
        if self.0.shells.contains(path) {
            return self.remove_what_is_left(path, old);
        }
        let mut held = None;
        match remove_known(&self.0.root, path, old, hold)? {
            Swapped::Done => {}
            Swapped::Held(displaced) => held = Some(self.0.held.add(displaced, keep)),
            Swapped::Refused if old.kind == Kind::Dir => return self.remove_what_is_left(path, old),
            Swapped::Refused => return Ok(self.refused(path)),
        }
        self.0.index.remove(path);
        // Something new may have come into its place.
        let news = self.0.look(path, Depth::Tree);
        Ok(Applied { held, ..Applied::new(Outcome::Done(None), news) })
    }

    /// A directory that is not empty, though all that is synced has gone: what nobody would miss goes with it. What a person
    /// has named by a pattern stays, and the directory with it.
    fn remove_what_is_left(&mut self, path: &str, old: &Entry) -> Result<Applied, Error> {
        if !matches!(look(&self.0.root, path)?, Some(looked) if looked.entry.kind == Kind::Dir)
            || self.0.index.below(path).next().is_some()
            || self.0.holds_synced(path)
        {
            return Ok(self.refused_directory(path));
        }
        let Evacuated { moved, foreign } = evacuate(&self.0.root, path, |at| self.0.held.knows(at))?;
        self.0.held.moved(&self.0.root, &moved)?;
        if !foreign.is_empty() {
            // It is removed when they are, by whoever is the last; files of one who has ended are taken in by the look.
            let news = self.0.look(path, Depth::Tree);
            let reason =
                "another agent's file is in the directory, which is to be removed; it is tried again";
            return Ok(Applied { news, ..failed(reason.to_owned()) });
        }
        self.remove_junk(path)?;
        let shell = !matches!(remove_known(&self.0.root, path, old, Old::Dropped)?, Swapped::Done);
        self.0.index.remove(path);
        if shell {
            self.0.shells.insert(path.to_owned());
        } else {
            self.0.shells.remove(path);
        }
        Ok(Applied { shell, ..Applied::new(Outcome::Done(None), Vec::new()) })
    }

    /// Removes what goes with its directory by its pattern: others can make it anew, or nobody misses it.
    fn remove_junk(&self, top: &str) -> Result<(), Error> {
        let mut dirs = vec![top.to_owned()];
        let mut at = 0;
        while let Some(dir) = dirs.get(at).cloned() {
            at += 1;
            let excluded = |path: &str| self.0.options.exclude.iter().any(|above| above == path);
            let Some(found) = look_into(&self.0.root, &dir, excluded)? else { continue };
            for looked in found.entries {
                let path = looked.entry.path;
                if looked.entry.kind == Kind::Dir && !is_precious(&path) {
                    dirs.push(path);
                } else if self.0.options.ignore.goes_with_its_directory(&path) {
                    remove_entry(&self.0.root, &path)?;
                }
            }
        }
        for dir in dirs.iter().skip(1).rev() {
            // One that holds something stays, and so does one that a person has named.
            if self.0.options.ignore.goes_with_its_directory(dir) || !self.0.options.ignore.matches(dir) {
                let (Removed::Gone(_) | Removed::Missing | Removed::NotEmpty) =
                    remove_entry(&self.0.root, dir)?;
            }
        }
        Ok(())
    }

    /// Mode and mtime alone differ: nothing is written.
    fn change_attributes(&mut self, path: &str, new: &Arc<Entry>) -> Result<Applied, Error> {
        if new.kind == Kind::Dir {
            return match set_attributes(&self.0.root, path, new) {
                // A directory's times change with what comes into it.
                Ok(given) => Ok(self.done_as(path, new, given.map(|given| given.mode))),
                Err(Error::NotADirectory { .. }) => Ok(self.refused(path)),
                // As where the file system knows no modes: it stays what it is, and both sides agree in that.
                Err(error) if error.is_denied() => {
                    let mode = look(&self.0.root, path)?.map(|looked| looked.entry.mode);
                    Ok(self.done_as(path, new, mode))
                }
                Err(error) => Err(error),
            };
        }
        let stands = match (self.0.seen(path), stat_exact(&self.0.root, path)?) {
            (Some(seen), Some(exact)) => {
                seen.exact == exact && same_content(&Some(Arc::clone(&seen.entry)), &Some(Arc::clone(new)))
            }
            _ => false,
        };
        if !stands {
            return Ok(self.refused(path));
        }
        let given = match set_attributes(&self.0.root, path, new) {
            Err(error) if error.is_denied() => None,
            other => other?,
        };
        // Whoever wrote it meanwhile has another mtime than ours no more: the content tells.
        let Some(now) = read(&self.0.root, path, 0)? else { return Ok(self.refused(path)) };
        let as_given = given.is_none_or(|given| given.mode == now.entry.mode && given.exact == now.exact);
        let changed = now.entry.hash != new.hash || !as_given;
        let entry = Arc::new(now.entry);
        self.0.index.put(path, Arc::clone(&entry), now.exact);
        if changed {
            let state = Some(entry);
            let news = vec![News { path: Arc::from(path), state: state.clone(), content: None }];
            return Ok(Applied::new(Outcome::Refused(state), news));
        }
        Ok(Applied::new(Outcome::Done(Some(entry)), Vec::new()))
    }
}

/// For the log: which content it is, not all of it.
fn short(state: &State) -> String {
    let Some(entry) = state else { return "nothing".to_owned() };
    let hash = entry.hash.map(|hash| format!(" {:02x}{:02x}", hash[0], hash[1])).unwrap_or_default();
    format!("{:?}{hash} {:o} {}", entry.kind, entry.mode, entry.mtime_ns)
}

fn is_precious(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.eq_ignore_ascii_case(".git") || name == ".stversions")
}

fn attributes_only(old: &Entry, new: &Entry) -> bool {
    old.kind == new.kind
        && match new.kind {
            Kind::Dir => true,
            Kind::Symlink => false,
            Kind::File => old.size == new.size && old.hash.is_some() && old.hash == new.hash,
        }
}

fn failed(error: String) -> Applied {
    Applied { error: Some(error), ..Applied::new(Outcome::Failed, Vec::new()) }
}
