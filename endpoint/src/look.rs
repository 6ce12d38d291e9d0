//! Looking at a directory: what changed at a path since it was last looked at.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ksync_merge::{Digest, State, same};
use ksync_tree::{
    Entry, Error, Exact, Kind, Looked, Root, Staged, covers, displaced_at, find_displaced, is_displaced,
    look, look_into, read,
};

use crate::{
    held::{Held, HeldFile},
    index::{Index, Seen},
    meter::{Meter, Share, name_size},
    options::Options,
};

/// How far below a path is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// At the entry itself.
    Entry,
    /// At all that is below it, too.
    Tree,
}

/// What stands at a path now.
#[derive(Debug, Clone)]
pub struct News {
    /// Where.
    pub path: Arc<str>,
    /// What; none where nothing does.
    pub state: State,
    /// A small file's content.
    pub content: Option<Arc<[u8]>>,
}

impl News {
    pub(crate) fn bare(path: &Arc<str>, entry: &Arc<Entry>) -> Self {
        Self { path: Arc::clone(path), state: Some(Arc::clone(entry)), content: None }
    }
}

/// A directory of one side, with what is known to be in it. Everything here blocks.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) root: Root,
    pub(crate) options: Options,
    pub(crate) index: Index,
    pub(crate) held: Held,
    /// Directories that hold nothing that is synced any more, and can't be removed for what they do hold.
    pub(crate) shells: BTreeSet<String>,
    /// What could not be looked at, and why.
    skipped: BTreeMap<String, String>,
    /// Where the audit is.
    pub(crate) audit: Option<Arc<str>>,
    /// Inode of the file with names elsewhere that was looked at last.
    pub(crate) linked: u64,
    /// How many bytes of content may still be handed out with the news of this look.
    spare: u64,
}

/// How many bytes of content are handed out with the news of one look: what changed at once may be all there is.
const SPARE: u64 = 8 << 20;

/// Nobody is at work with a displaced file that was displaced so long ago and is not known here.
const ABANDONED: Duration = Duration::from_secs(60);

impl Endpoint {
    /// Nothing is known yet: the first look is at everything.
    pub fn new(root: Root, options: Options) -> Self {
        Self {
            root,
            options,
            index: Index::default(),
            held: Held::default(),
            shells: BTreeSet::new(),
            skipped: BTreeMap::new(),
            audit: None,
            linked: 0,
            spare: 0,
        }
    }

    /// What is known to be in it takes memory of this `meter`.
    #[must_use]
    pub fn metered(mut self, meter: Arc<dyn Meter>) -> Self {
        self.index.share = Share::of(meter);
        self
    }

    /// Whether there is more in it than there is memory for: what is known is not all.
    pub(crate) fn is_full(&self) -> bool {
        self.index.share.is_full(self.skipped.len())
    }

    /// Looks at everything for the first time, and hands no content out: most of it is known to whoever hears the news.
    pub(crate) fn look_first(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        self.look_below("", &mut news);
        news
    }

    /// The directory was made anew. What was displaced in the one before is not found any more.
    pub(crate) fn replace_root(&mut self, root: Root) -> Vec<News> {
        self.root = root;
        self.held = Held::default();
        self.shells.clear();
        self.audit = None;
        self.look("", Depth::Tree)
    }

    /// Takes in what earlier runs have displaced here and nobody has brought to safety; returns how many there are. Nobody
    /// else may be at work in the directory.
    pub fn adopt_displaced(&mut self) -> Result<usize, Error> {
        let found = find_displaced(&self.root, &self.options.exclude)?;
        let count = found.len();
        for displaced in found {
            self.held.add_leftover(displaced);
        }
        Ok(count)
    }

    /// The directory.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The sum of all that is known to be here.
    pub fn digest(&self) -> Digest {
        self.index.digest()
    }

    /// How many entries are known to be here.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nothing is known to be here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that is known to be here.
    pub fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Entry>)> {
        self.index.iter().map(|(path, seen)| (path, &seen.entry))
    }

    /// What could not be looked at, or is not synced for what it is, and why. It may be there: it is not gone.
    pub fn skipped(&self) -> &BTreeMap<String, String> {
        &self.skipped
    }

    /// What stood at `path` when it was last looked at, and what tells that it is still the same.
    pub fn exact(&self, path: &str) -> Option<(Arc<Entry>, Exact)> {
        self.index.get(path).map(|seen| (Arc::clone(&seen.entry), seen.exact))
    }

    /// Looks at a path, and tells what changed there. The root is the empty path.
    pub fn look(&mut self, path: &str, depth: Depth) -> Vec<News> {
        let mut news = Vec::new();
        self.spare = SPARE;
        if path.is_empty() {
            self.look_below("", &mut news);
            return news;
        }
        if self.options.leaves_out_all(path) {
            return news;
        }
        // A directory on the way that is not known yet is told of before what is in it.
        let mut above = "";
        for (at, _) in path.match_indices('/') {
            above = &path[..at];
            if !self.index.is_dir(above) && !self.shells.contains(above) && !self.options.leaves_out(above) {
                self.look_at(above, Depth::Tree, &mut news);
                return news;
            }
        }
        if self.shells.contains(above) {
            self.look_at(above, Depth::Tree, &mut news);
        } else {
            self.look_at(path, depth, &mut news);
        }
        news
    }

    fn look_at(&mut self, path: &str, depth: Depth, news: &mut Vec<News>) {
        match look(&self.root, path) {
            Ok(Some(looked)) => self.found(path, looked, depth, news),
            Ok(None) => self.gone(path, news),
            Err(error) => self.skip(path, &error, news),
        }
    }

    /// What can't be looked at may be there. What is there and is of a kind that is not synced is not.
    fn skip(&mut self, path: &str, error: &Error, news: &mut Vec<News>) {
        // Too long or too deep: told of where its directory is looked into, and gone with that.
        let above = path.rsplit_once('/').map(|(above, _)| above);
        if matches!(error, Error::BadPath { .. }) && !above.is_none_or(|above| self.index.is_dir(above)) {
            return;
        }
        if matches!(error, Error::WrongKind { .. }) {
            self.gone(path, news);
        }
        self.skipped.insert(path.to_owned(), ksync_common::chain(error));
    }

    fn found(&mut self, path: &str, looked: Looked, depth: Depth, news: &mut Vec<News>) {
        let Looked { entry, exact } = looked;
        // What a directory holds could not be looked at, maybe: a look into it tells.
        let was_skipped = self.skipped.contains_key(path);
        if entry.kind != Kind::Dir {
            self.skipped.remove(path);
        }
        let was = self.index.get(path);
        match entry.kind {
            Kind::Dir => {
                let is_new = was.is_none_or(|was| was.entry.kind != Kind::Dir);
                if is_new && self.shells.contains(path) {
                    return self.look_into_shell(path, entry, exact, news);
                }
                if is_new && was.is_some() {
                    self.gone(path, news);
                }
                if !self.options.leaves_out(path) {
                    self.put(path, entry, exact, None, news);
                }
                if is_new || was_skipped || depth == Depth::Tree {
                    self.look_below(path, news);
                }
            }
            Kind::Symlink => {
                self.clear_below(path, news);
                if !self.options.leaves_out(path) {
                    self.put(path, entry, exact, None, news);
                }
            }
            Kind::File => {
                if self.options.leaves_out(path) {
                    return;
                }
                if was.is_some_and(|was| was.exact == exact && was.entry.kind == Kind::File) {
                    return;
                }
                self.clear_below(path, news);
                match read(&self.root, path, self.options.inline.min(self.spare)) {
                    Ok(Some(read)) => {
                        self.spare -= read.content.as_ref().map_or(0, |content| content.len() as u64);
                        let Exact { ino, links, .. } = read.exact;
                        self.put(path, read.entry, read.exact, read.content, news);
                        if links > 1 {
                            self.look_at_names(path, ino, news);
                        }
                    }
                    // It was a file just now: the next event tells what became of it.
                    Ok(None) => self.look_again(path, news),
                    Err(error) => self.skip(path, &error, news),
                }
            }
        }
    }

    /// A write through one name of a file has no event for its other names.
    fn look_at_names(&mut self, path: &str, ino: u64, news: &mut Vec<News>) {
        for name in self.index.names(ino) {
            // One that was looked at just now is as it is known.
            if *name != *path {
                self.look_at(&name, Depth::Entry, news);
            }
        }
    }

    /// What was read as a file is none any more.
    fn look_again(&mut self, path: &str, news: &mut Vec<News>) {
        if let Ok(None) = look(&self.root, path) {
            self.gone(path, news);
        } else {
            self.skipped.insert(path.to_owned(), "it changes all the time".to_owned());
        }
    }

    /// Remembers an entry, and tells of it where it is another than before.
    fn put(
        &mut self,
        path: &str,
        entry: Entry,
        exact: Exact,
        content: Option<Vec<u8>>,
        news: &mut Vec<News>,
    ) {
        // Directories that are left out, and hold something that is not, are synced with it.
        for (at, _) in path.match_indices('/') {
            let above = &path[..at];
            if self.index.get(above).is_none()
                && let Ok(Some(Looked { entry, exact })) = look(&self.root, above)
            {
                self.put_one(above, entry, exact, None, news);
            }
        }
        self.put_one(path, entry, exact, content, news);
    }

    fn put_one(
        &mut self,
        path: &str,
        entry: Entry,
        exact: Exact,
        content: Option<Vec<u8>>,
        news: &mut Vec<News>,
    ) {
        let entry = Arc::new(entry);
        let state = Some(Arc::clone(&entry));
        let changed = !same(&self.index.state(path), &state);
        self.index.put(path, entry, exact);
        if changed {
            news.push(News { path: Arc::from(path), state, content: content.map(Arc::from) });
        }
    }

    /// Nothing stands at `path` any more, nor below it.
    pub(crate) fn gone(&mut self, path: &str, news: &mut Vec<News>) {
        self.skipped.retain(|skipped, _| !covers(path, skipped));
        self.clear_below(path, news);
        self.shells.remove(path);
        if self.index.remove(path) {
            news.push(News { path: Arc::from(path), state: None, content: None });
        }
    }

    /// Nothing stands below `path` any more. What is in a directory is told of before the directory.
    fn clear_below(&mut self, path: &str, news: &mut Vec<News>) {
        let below: Vec<Arc<str>> = self.index.below(path).map(|(path, _)| Arc::clone(path)).collect();
        for path in below.into_iter().rev() {
            self.index.remove(&path);
            news.push(News { path, state: None, content: None });
        }
        self.shells.retain(|shell| !ksync_tree::is_below(path, shell));
    }

    fn look_below(&mut self, path: &str, news: &mut Vec<News>) {
        let mut todo = vec![path.to_owned()];
        while !self.is_full()
            && let Some(dir) = todo.pop()
        {
            todo.extend(self.look_into(&dir, Depth::Tree, news));
        }
    }

    /// Looks at all that is in one directory; returns the directories that are to be looked into.
    pub(crate) fn look_into(&mut self, dir: &str, depth: Depth, news: &mut Vec<News>) -> Vec<String> {
        let (options, displaced) = (&self.options, RefCell::new(Vec::new()));
        // All that is in one directory is in memory at once.
        let at_once = RefCell::new(self.index.share.another());
        let leaves_out = |path: &str| {
            if !at_once.borrow_mut().take(name_size(path)) {
                return true;
            }
            if path.rsplit('/').next().is_some_and(is_displaced) {
                displaced.borrow_mut().push(path.to_owned());
            }
            options.leaves_out_all(path)
        };
        let found = match look_into(&self.root, dir, leaves_out) {
            Ok(Some(found)) => found,
            Ok(None) => {
                if !dir.is_empty() {
                    self.look_at(dir, Depth::Entry, news);
                }
                return Vec::new();
            }
            Err(error) => {
                self.skipped.insert(dir.to_owned(), ksync_common::chain(&error));
                return Vec::new();
            }
        };
        if at_once.into_inner().is_full(found.skipped.len()) {
            self.index.share.refuse();
            return Vec::new();
        }
        let mut there: BTreeSet<&str> =
            found.entries.iter().map(|looked| looked.entry.path.as_str()).collect();
        there.extend(found.skipped.iter().map(|skipped| skipped.path.as_str()));
        for child in self.index.children(dir) {
            if !there.contains(&*child) {
                self.gone(&child, news);
            }
        }
        for path in displaced.into_inner() {
            self.adopt(&path);
        }
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        // Those that are directories are named until a look into them tells otherwise.
        let is_dir_there = |path: &str| {
            let at = found.entries.binary_search_by(|looked| looked.entry.path.as_str().cmp(path));
            at.is_ok_and(|at| found.entries[at].entry.kind == Kind::Dir)
        };
        self.skipped.retain(|path, _| {
            path.strip_prefix(prefix.as_str()).is_none_or(|name| name.contains('/')) || is_dir_there(path)
        });
        self.skipped.remove(dir);
        for skipped in found.skipped {
            self.skipped.insert(skipped.path, skipped.reason);
        }
        let mut dirs = Vec::new();
        for looked in found.entries {
            let path = looked.entry.path.clone();
            let is_dir = looked.entry.kind == Kind::Dir;
            let is_new = is_dir && !self.index.is_dir(&path);
            if is_dir && !self.shells.contains(&path) {
                let was_skipped = self.skipped.contains_key(&path);
                self.found_dir(&path, looked, news);
                if is_new || was_skipped || depth == Depth::Tree {
                    dirs.push(path);
                }
            } else {
                self.found(&path, looked, depth, news);
            }
        }
        dirs
    }

    /// Takes in a displaced file that nobody here knows of, and that is nobody else's to judge any more.
    fn adopt(&mut self, path: &str) {
        if self.held.knows(path) {
            return;
        }
        match displaced_at(&self.root, path, ABANDONED) {
            Ok(Some(displaced)) => drop(self.held.add_leftover(displaced)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = ksync_common::chain(&error), "look at a displaced file");
            }
        }
    }

    /// A directory without what is in it.
    fn found_dir(&mut self, path: &str, looked: Looked, news: &mut Vec<News>) {
        if self.index.get(path).is_some_and(|was| was.entry.kind != Kind::Dir) {
            self.gone(path, news);
        }
        if !self.options.leaves_out(path) {
            self.put(path, looked.entry, looked.exact, None, news);
        }
    }

    /// A directory that counts as gone is there again once it holds something that is synced.
    fn look_into_shell(&mut self, path: &str, entry: Entry, exact: Exact, news: &mut Vec<News>) {
        if self.holds_synced(path) {
            self.shells.remove(path);
            self.put(path, entry, exact, None, news);
            self.look_below(path, news);
        }
    }

    /// Whether something below the directory `path` is synced.
    pub(crate) fn holds_synced(&self, path: &str) -> bool {
        let mut todo = vec![path.to_owned()];
        while let Some(dir) = todo.pop() {
            let found = look_into(&self.root, &dir, |path| self.options.leaves_out_all(path));
            // What can't be looked into may hold anything.
            let Ok(found) = found else { return true };
            for looked in found.into_iter().flat_map(|found| found.entries) {
                if looked.entry.kind == Kind::Dir {
                    todo.push(looked.entry.path);
                } else if !self.options.leaves_out(&looked.entry.path) {
                    return true;
                }
            }
        }
        false
    }

    /// Puts what was written at `path`, unless it is not what is there any more; whether it is.
    pub(crate) fn wrote(&mut self, path: &str, new: &Entry, staged: Option<Staged>) -> Option<State> {
        let looked = look(&self.root, path).ok().flatten()?;
        let untouched = staged.is_none_or(|staged| {
            staged.exact.same_content(&looked.exact) && staged.mode == looked.entry.mode
        });
        if looked.entry.kind != new.kind || !untouched || looked.entry.target != new.target {
            return None;
        }
        let entry = Arc::new(Entry { hash: new.hash, ..looked.entry });
        if entry.kind != Kind::Dir {
            self.skipped.remove(path);
        }
        self.shells.remove(path);
        self.index.put(path, Arc::clone(&entry), looked.exact);
        Some(Some(entry))
    }

    pub(crate) fn seen(&self, path: &str) -> Option<&Seen> {
        self.index.get(path)
    }

    /// Judges the displaced files that wait; returns those that are to be brought to safety, once each.
    pub fn judge(&mut self) -> Vec<HeldFile> {
        self.held.judge(&self.root)
    }

    /// A displaced file could not be brought to safety: it is judged again, where it is by now.
    pub fn judge_again(&mut self, number: u64) {
        self.held.judge_again(&self.root, number);
    }

    /// A displaced file is in safety: it goes.
    pub fn release(&mut self, number: u64) -> Result<(), Error> {
        self.held.release(number)
    }
}
