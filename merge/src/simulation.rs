//! Random deeds of persons on both sides, between any two steps of the merge, with operations that come late, answers that
//! are lost, watchers that are killed and containers that are replaced. Whatever the seed: at the end both sides hold the
//! same, nothing that anybody wrote is lost, and no conflict is invented.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use ksync_tree::{Entry, Kind};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::{
    First, Group, Keep, Op, Outcome, Policy, Record, Side, State,
    state::{is_dir, same},
};

const STEPS: usize = 120;
const CONTAINERS: usize = 2;

/// A directory tree on a disk.
#[derive(Debug, Clone, Default)]
struct Disk(BTreeMap<String, Arc<Entry>>);

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

impl Disk {
    fn get(&self, path: &str) -> State {
        self.0.get(path).cloned()
    }

    fn has_parent(&self, path: &str) -> bool {
        parent(path).is_none_or(|parent| is_dir(&self.get(parent)))
    }

    fn is_full(&self, path: &str) -> bool {
        self.0.keys().any(|other| other.starts_with(&format!("{path}/")))
    }

    /// Compare-and-swap, as `ksync_tree::swap` does.
    fn swap(&mut self, path: &str, old: &State, new: &State) -> Result<(), State> {
        let now = self.get(path);
        let dirs = is_dir(&now) && is_dir(old);
        if !(same(&now, old) || dirs) || !self.has_parent(path) && new.is_some() {
            return Err(now);
        }
        if is_dir(&now) && !is_dir(new) && self.is_full(path) {
            return Err(now);
        }
        match new {
            Some(entry) => self.0.insert(path.to_owned(), Arc::clone(entry)),
            None => self.0.remove(path),
        };
        Ok(())
    }
}

fn file(content: u64, mode: u32) -> Arc<Entry> {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&content.to_le_bytes());
    Arc::new(Entry {
        path: String::new(),
        kind: Kind::File,
        size: 1,
        mtime_ns: content.cast_signed(),
        mode,
        hash: Some(hash),
        target: None,
    })
}

fn dir() -> Arc<Entry> {
    Arc::new(Entry {
        path: String::new(),
        kind: Kind::Dir,
        size: 0,
        mtime_ns: 0,
        mode: 0o755,
        hash: None,
        target: None,
    })
}

fn content(state: &State) -> Option<u64> {
    let hash = state.as_ref()?.hash?;
    Some(u64::from_le_bytes(hash[..8].try_into().unwrap()))
}

/// One container, and what is between it and the watcher.
struct Remote {
    name: Arc<str>,
    disk: Disk,
    /// Operations on their way, in order.
    there: VecDeque<Op>,
    /// News and answers on their way back, in order.
    back: VecDeque<News>,
}

/// What a fresh container holds.
fn image() -> Disk {
    let files =
        ["a/a", "b"].into_iter().zip(IMAGE..).map(|(path, content)| (path.to_owned(), file(content, 0o644)));
    Disk(std::iter::once(("a".to_owned(), dir())).chain(files).collect())
}

/// The first of the contents that only an image has.
const IMAGE: u64 = 1 << 40;

/// What all containers are.
const KIND: &str = "app";

enum News {
    Seen(String, State),
    Over(Op, Outcome),
}

struct World {
    rng: SmallRng,
    here: Disk,
    group: Group,
    /// What is on the disk of the watcher.
    journal: Vec<String>,
    /// Paths changed here that the scan has not found yet.
    unscanned: BTreeSet<String>,
    remotes: Vec<Remote>,
    kept: BTreeSet<u64>,
    /// Content that was here once.
    ever_here: BTreeSet<u64>,
    /// Who wrote a path since all was at rest: here, and in which container.
    writers: BTreeMap<String, BTreeSet<usize>>,
    next: u64,
    log: Vec<String>,
}

/// Of persons here.
const HERE: usize = usize::MAX;
/// Of whoever built the image.
const BUILDER: usize = HERE - 1;
/// Of containers that are no more.
const GONE: usize = HERE - 2;

impl World {
    fn new(seed: u64) -> Self {
        let remote = |index: usize| Remote {
            name: Arc::from(index.to_string()),
            disk: Disk::default(),
            there: VecDeque::new(),
            back: VecDeque::new(),
        };
        let mut world = Self {
            rng: SmallRng::seed_from_u64(seed),
            here: Disk::default(),
            group: Group::default(),
            journal: Vec::new(),
            unscanned: BTreeSet::new(),
            remotes: (0..CONTAINERS).map(remote).collect(),
            kept: BTreeSet::new(),
            ever_here: BTreeSet::new(),
            writers: BTreeMap::new(),
            next: 1,
            log: Vec::new(),
        };
        (0..CONTAINERS).for_each(|index| world.attach(index));
        world
    }

    fn name(&self, index: usize) -> Arc<str> {
        Arc::clone(&self.remotes[index].name)
    }

    fn path(&mut self) -> String {
        let mut path = ["a", "b", "c"][self.rng.random_range(0..3)].to_owned();
        for _ in 0..self.rng.random_range(0..3) {
            path = format!("{path}/{}", ["a", "b"][self.rng.random_range(0..2)]);
        }
        path
    }

    /// A person's deed: returns the paths that changed.
    fn deed(rng: &mut SmallRng, next: &mut u64, disk: &mut Disk, path: &str) -> Vec<String> {
        let below = format!("{path}/");
        match rng.random_range(0..6) {
            0 if disk.0.contains_key(path) => {
                let gone: Vec<String> =
                    disk.0.keys().filter(|p| *p == path || p.starts_with(&below)).cloned().collect();
                for path in &gone {
                    disk.0.remove(path);
                }
                gone
            }
            1 if disk.has_parent(path) && disk.get(path).is_none() => {
                disk.0.insert(path.to_owned(), dir());
                vec![path.to_owned()]
            }
            2 if disk.get(path).is_some_and(|entry| entry.kind == Kind::File) => {
                let old = content(&disk.get(path)).unwrap();
                disk.0.insert(path.to_owned(), file(old, if rng.random() { 0o600 } else { 0o755 }));
                vec![path.to_owned()]
            }
            _ if disk.has_parent(path) && !is_dir(&disk.get(path)) => {
                *next += 1;
                disk.0.insert(path.to_owned(), file(*next, 0o644));
                vec![path.to_owned()]
            }
            _ => Vec::new(),
        }
    }

    fn write_here(&mut self) {
        let path = self.path();
        let changed = Self::deed(&mut self.rng, &mut self.next, &mut self.here, &path);
        for path in changed {
            self.ever_here.extend(content(&self.here.get(&path)));
            self.log.push(format!("here: {path} = {}", shown(&self.here.get(&path))));
            self.writers.entry(path.clone()).or_default().insert(HERE);
            self.unscanned.insert(path);
        }
    }

    fn write_there(&mut self, index: usize) {
        let path = self.path();
        let remote = &mut self.remotes[index];
        let changed = Self::deed(&mut self.rng, &mut self.next, &mut remote.disk, &path);
        for path in changed {
            self.log.push(format!("{index}: {path} = {}", shown(&remote.disk.get(&path))));
            self.writers.entry(path.clone()).or_default().insert(index);
            remote.back.push_back(News::Seen(path.clone(), remote.disk.get(&path)));
        }
    }

    /// The local scan finds a path.
    fn scan(&mut self, path: &str) {
        self.unscanned.remove(path);
        self.group.here(path, self.here.get(path));
    }

    /// A container's next operation is begun; those here are done at once, compare-and-swap.
    fn begin(&mut self, index: usize) {
        let most = self.rng.random_range(1..4);
        let ops = self.group.begin(&self.name(index), most);
        self.write_down();
        for op in ops {
            self.log.push(format!(
                "{index}: op {:?} {} {} -> {} keep {:?}",
                op.side,
                op.path,
                shown(&op.old),
                shown(&op.new),
                op.keep
            ));
            match op.side {
                Side::There => self.remotes[index].there.push_back(op),
                Side::Here => self.apply_here(index, op),
            }
        }
    }

    fn write_down(&mut self) {
        self.journal.extend(self.group.take_records().iter().map(Record::line));
    }

    fn apply_here(&mut self, index: usize, op: Op) {
        // A person may come in between.
        if self.rng.random_ratio(1, 10) {
            self.write_here();
        }
        let was = self.here.get(&op.path);
        let outcome = match self.here.swap(&op.path, &op.old, &op.new) {
            Ok(()) => {
                self.kept.extend(content(&was));
                self.ever_here.extend(content(&op.new));
                assert_ne!(op.keep, None, "what is here is always kept");
                self.judge_conflict(&op);
                self.scan(&op.path);
                Outcome::Done(op.new.clone())
            }
            Err(now) => {
                self.scan(&op.path);
                Outcome::Refused(now)
            }
        };
        self.log.push(format!("{index}: here {} {outcome:?}", op.path).chars().take(150).collect());
        self.over(index, op, outcome);
    }

    fn judge_conflict(&self, op: &Op) {
        if op.keep == Some(Keep::Conflict) && content(&op.old).is_some() {
            // What stands above and below it counts: a file here, and a directory there.
            let related =
                |path: &str| ksync_tree::covers(path, &op.path) || ksync_tree::covers(&op.path, path);
            let writers: BTreeSet<&usize> =
                self.writers.iter().filter(|(path, _)| related(path)).flat_map(|(_, by)| by).collect();
            assert!(writers.len() > 1, "an invented conflict at {}\n{}", op.path, self.log.join("\n"));
        }
    }

    /// A container carries out its next operation.
    fn apply_there(&mut self, index: usize) {
        let Some(op) = self.remotes[index].there.pop_front() else { return };
        let remote = &mut self.remotes[index];
        let was = remote.disk.get(&op.path);
        let outcome = match remote.disk.swap(&op.path, &op.old, &op.new) {
            Ok(()) => {
                if let Some(lost) = content(&was) {
                    if op.keep.is_some() {
                        self.kept.insert(lost);
                    }
                    assert!(
                        lost >= IMAGE || self.ever_here.contains(&lost) || self.kept.contains(&lost),
                        "{lost} was written in a container at {} and is lost\n{}",
                        op.path,
                        self.log.join("\n"),
                    );
                }
                Outcome::Done(op.new.clone())
            }
            Err(now) => Outcome::Refused(now),
        };
        self.log.push(format!("{index}: there {} {outcome:?}", op.path).chars().take(150).collect());
        if matches!(outcome, Outcome::Done(_)) {
            self.judge_conflict(&op);
        }
        self.remotes[index].back.push_back(News::Over(op, outcome));
    }

    fn hear(&mut self, index: usize) {
        match self.remotes[index].back.pop_front() {
            Some(News::Seen(path, state)) => {
                self.group.there(&self.name(index), &path, state);
            }
            Some(News::Over(op, outcome)) => self.over(index, op, outcome),
            None => {}
        }
    }

    fn over(&mut self, index: usize, op: Op, outcome: Outcome) {
        self.group.over(&self.name(index), &op, outcome);
        if self.rng.random() {
            self.write_down();
        }
    }

    /// The watcher dies and starts again: what was under way is lost, done or not.
    fn restart(&mut self) {
        self.log.push("restart".to_owned());
        // What was not written down is lost. Now and then all of it is written anew.
        self.group = Group::recover(self.journal.iter().map(|line| Record::read(line).unwrap()));
        if self.rng.random() {
            self.journal = self.group.snapshot().iter().map(Record::line).collect();
            self.group = Group::recover(self.journal.iter().map(|line| Record::read(line).unwrap()));
        }
        self.unscanned.clear();
        let here = self.here.0.iter();
        self.group.listed(here.map(|(path, entry)| (Arc::from(path.as_str()), Some(Arc::clone(entry)))));
        for index in 0..self.remotes.len() {
            // What was sent is carried out, or not.
            while !self.remotes[index].there.is_empty() {
                if self.rng.random() {
                    self.apply_there(index);
                } else {
                    self.remotes[index].there.clear();
                }
            }
            self.attach(index);
        }
    }

    fn attach(&mut self, index: usize) {
        let remote = &mut self.remotes[index];
        remote.back.clear();
        remote.there.clear();
        let name = Arc::clone(&remote.name);
        let synced = self.group.was_synced(KIND);
        let policy = Policy { two_way: index == 0, first: (!synced).then_some(First::Local) };
        let listing: Vec<(Arc<str>, State)> = remote
            .disk
            .0
            .iter()
            .map(|(path, entry)| (Arc::from(path.as_str()), Some(Arc::clone(entry))))
            .collect();
        self.group.attach(&name, listing, policy);
        // What it wrote before this is its image's, as far as anybody can tell.
        self.write_down();
    }

    /// A container ends, and another comes in its place, from the same image.
    fn replace(&mut self, index: usize) {
        self.log.push(format!("{index}: a fresh one"));
        self.group.forget(&self.name(index));
        self.next += 1;
        let remote = &mut self.remotes[index];
        (remote.name, remote.disk) = (Arc::from(self.next.to_string()), image());
        for writers in self.writers.values_mut() {
            if writers.remove(&index) {
                writers.insert(GONE);
            }
        }
        for path in image().0.into_keys() {
            self.writers.entry(path).or_default().insert(BUILDER);
        }
        self.attach(index);
    }

    /// The connection breaks: what was under way is done or not, and its answer lost.
    fn reconnect(&mut self, index: usize) {
        self.log.push(format!("reconnect {index}"));
        self.group.detach(&self.name(index));
        while !self.remotes[index].there.is_empty() && self.rng.random() {
            self.apply_there(index);
        }
        // Meanwhile people go on.
        for _ in 0..self.rng.random_range(0..3) {
            self.write_here();
            self.write_there(index);
            if let Some(path) = self.unscanned.iter().next().cloned() {
                self.scan(&path);
            }
        }
        self.attach(index);
    }

    /// Until nothing is to be done on any side.
    fn rest(&mut self) {
        for _ in 0..2_000 {
            let unscanned: Vec<String> = self.unscanned.iter().cloned().collect();
            for path in &unscanned {
                self.scan(path);
            }
            for index in 0..self.remotes.len() {
                self.begin(index);
                self.apply_there(index);
                while !self.remotes[index].back.is_empty() {
                    self.hear(index);
                }
            }
            let idle = (0..self.remotes.len()).all(|index| {
                let settled = self.group.container(&self.name(index)).is_some_and(|(_, c)| c.is_settled());
                settled && self.remotes[index].there.is_empty() && self.remotes[index].back.is_empty()
            });
            if self.unscanned.is_empty() && idle {
                self.group.set_synced(&Arc::from(KIND));
                return self.judge();
            }
        }
        panic!("no rest\n{}", self.log.join("\n"));
    }

    fn judge(&mut self) {
        let lead = &self.remotes[0].disk;
        for path in self.here.0.keys().chain(lead.0.keys()) {
            let (ours, theirs) = (self.here.get(path), lead.get(path));
            assert!(
                same(&ours, &theirs),
                "{path} is {} here and {} there\n{}",
                shown(&ours),
                shown(&theirs),
                self.log.join("\n"),
            );
        }
        for (index, remote) in self.remotes.iter().enumerate().skip(1) {
            for (path, ours) in &self.here.0 {
                let own = self.writers.get(path).is_some_and(|writers| writers.contains(&index));
                let ours = Some(Arc::clone(ours));
                assert!(
                    own || same(&ours, &remote.disk.get(path)),
                    "{path} is {} here and {} in {index}\n{}",
                    shown(&ours),
                    shown(&remote.disk.get(path)),
                    self.log.join("\n"),
                );
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            let index = self.rng.random_range(0..self.remotes.len());
            match self.rng.random_range(0..41) {
                0..6 => self.write_here(),
                6..10 => self.write_there(index),
                10..16 => {
                    if let Some(path) = self.unscanned.iter().next().cloned() {
                        self.scan(&path);
                    }
                }
                16..24 => self.begin(index),
                24..31 => self.apply_there(index),
                31..39 => self.hear(index),
                39 => self.reconnect(index),
                _ if self.rng.random() => self.restart(),
                _ => self.replace(index),
            }
        }
        self.rest();
    }
}

fn shown(state: &State) -> String {
    match state {
        None => "nothing".to_owned(),
        Some(entry) if entry.kind == Kind::Dir => "dir".to_owned(),
        state @ Some(entry) => format!("{}/{:o}", content(state).unwrap(), entry.mode),
    }
}

#[test]
fn both_sides_become_equal_and_nothing_is_lost() {
    let seeds: u64 = std::env::var("KSYNC_MERGE_SEEDS").ok().map_or(300, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            // All was in sync once: what a fresh container brings is its image's, and what it writes is its own.
            world.run();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
