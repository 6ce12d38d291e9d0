//! Putting files into a kept directory while a watcher runs. What goes within a second shares a moment, so that a thousand
//! files cost no more than their moves.
//!
//! Invariant: a moment that is in use is not removed, and no path is put into a moment in which it stands, or in which a
//! part of it is a file.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Kind, list::room, sweep};

/// What is put away within this time shares a moment.
const TOGETHER: Duration = Duration::from_secs(1);
/// So many bytes more are kept before it is looked whether they are too many: a sweep may be minutes away.
const UNLOOKED: u64 = 64 << 20;
/// Copies older than this are a sweep's business.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The moments of one kept directory.
#[derive(Debug)]
pub(crate) struct Moments {
    folder: PathBuf,
    state: Mutex<State>,
    /// Bytes that were kept since the last sweep that this has begun.
    unlooked: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// What is put away now goes there.
    current: HashMap<Kind, Moment>,
    /// In which moments a path stands, the oldest first.
    copies: HashMap<(Kind, String), VecDeque<KeptCopy>>,
    /// Since when these are remembered.
    since: Instant,
}

#[derive(Debug)]
struct KeptCopy {
    place: Arc<PathBuf>,
    /// In bytes.
    size: u64,
}

#[derive(Debug)]
struct Moment {
    /// Held by whoever puts something there.
    place: Arc<PathBuf>,
    begun: Instant,
    paths: BTreeSet<String>,
}

impl Moment {
    fn begin(folder: &Path, kind: Kind) -> io::Result<Self> {
        let place = kind.moment(folder);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
        Ok(Self { place: Arc::new(place), begun: Instant::now(), paths: BTreeSet::new() })
    }

    /// Whether `path` may be put there. A person who dismisses conflicts moves their moments away.
    fn takes(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let above = |(at, _)| self.paths.contains(&path[..at]);
        self.begun.elapsed() < TOGETHER
            && !self.paths.contains(path)
            && !path.match_indices('/').any(above)
            && !self.paths.range(below.clone()..).next().is_some_and(|other| other.starts_with(&below))
            && self.place.is_dir()
    }
}

impl Moments {
    pub(crate) fn new(folder: PathBuf) -> Self {
        let state = State { current: HashMap::new(), copies: HashMap::new(), since: Instant::now() };
        Self { folder, state: Mutex::new(state), unlooked: AtomicU64::new(0) }
    }

    /// Has `put` put what stood at `path` into a moment, under that path, and removes the oldest copies of it beyond those that
    /// are kept: a sweep may be minutes away.
    pub(crate) fn keep(
        &self,
        kind: Kind,
        path: &str,
        put: &mut dyn FnMut(&Path) -> Result<(), String>,
    ) -> Result<(), String> {
        let place = self.place(kind, path).map_err(|error| format!("make a place below `kept`: {error}"))?;
        put(&place)?;
        let size = place.join(path).symlink_metadata().map_or(0, |meta| room(&meta));
        self.limit(size);
        let surplus = self.state().one_more(kind, path, KeptCopy { place, size });
        for KeptCopy { place, .. } in surplus {
            if let Err(error) = self.remove(&place, kind, path) {
                tracing::warn!(%error, path, "remove the oldest copy of what is kept");
            }
        }
        Ok(())
    }

    /// Counts what was kept, and keeps all that is kept, of all folders, within its limits.
    fn limit(&self, size: u64) {
        let before = self.unlooked.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) > UNLOOKED
            && let Some(kept) = self.folder.parent()
        {
            self.unlooked.store(0, Ordering::Relaxed);
            sweep(kept);
        }
    }

    fn place(&self, kind: Kind, path: &str) -> io::Result<Arc<PathBuf>> {
        let mut state = self.state();
        if !state.current.get(&kind).is_some_and(|moment| moment.takes(path)) {
            state.current.insert(kind, Moment::begin(&self.folder, kind)?);
        }
        let moment = state.current.get_mut(&kind).ok_or(io::ErrorKind::NotFound)?;
        moment.paths.insert(path.to_owned());
        Ok(Arc::clone(&moment.place))
    }

    /// Removes the copy of `path` in the moment at `place`, and of the moment what that leaves empty.
    fn remove(&self, place: &Arc<PathBuf>, kind: Kind, path: &str) -> io::Result<()> {
        match fs::remove_file(place.join(path)) {
            // A sweep was faster, or a restore, or a person has dismissed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        // Nobody gets hold of it now: others are remembered, or put something there.
        let state = self.state();
        let is_current = state.current.get(&kind).is_some_and(|moment| Arc::ptr_eq(&moment.place, place));
        if is_current || Arc::strong_count(place) > 1 {
            return Ok(());
        }
        let dirs = Path::new(path).ancestors().skip(1).map(|dir| place.join(dir));
        for dir in dirs {
            match fs::remove_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// There is one more copy of `path`. Returns those that are too many.
    fn one_more(&mut self, kind: Kind, path: &str, copy: KeptCopy) -> Vec<KeptCopy> {
        if self.since.elapsed() > REMEMBERED {
            self.copies.clear();
            self.since = Instant::now();
        }
        let copies = self.copies.entry((kind, path.to_owned())).or_default();
        copies.push_back(copy);
        let mut bytes: u64 = copies.iter().map(|copy| copy.size).sum();
        let mut surplus = Vec::new();
        while kind.is_surplus(copies.len() - 1, bytes)
            && let Some(oldest) = copies.pop_front()
        {
            bytes -= oldest.size;
            surplus.push(oldest);
        }
        surplus
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use super::{
        super::{CONFLICTS, CONFLICTS_SIZE, COPIES},
        Kind, Moment, Moments,
    };

    fn put(text: &str, path: &str) -> impl FnMut(&Path) -> Result<(), String> {
        move |place| {
            let file = place.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::OpenOptions::new().write(true).create_new(true).open(&file).unwrap();
            fs::write(file, text).map_err(|error| error.to_string())
        }
    }

    /// The moments of a kind, and in each the paths.
    fn left(dir: &Path, kind: Kind) -> Vec<Vec<String>> {
        let mut moments: Vec<_> =
            fs::read_dir(dir.join(kind.dir())).unwrap().map(|e| e.unwrap().path()).collect();
        moments.sort();
        let paths = |moment: &Path| {
            let mut paths = Vec::new();
            super::super::list::walk(moment, "", &mut |path, _, _| paths.push(path.to_owned())).unwrap();
            paths.sort();
            paths
        };
        moments.iter().map(|moment| paths(moment)).collect()
    }

    #[test]
    fn what_goes_together_shares_a_moment_and_no_copy_replaces_another() {
        let dir = tempfile::tempdir().unwrap();
        let moments = Moments::new(dir.path().join("f"));
        let keep = |path: &str| moments.keep(Kind::Replaced, path, &mut put(path, path)).unwrap();
        ["a", "b/c", "b/d", "b-"].into_iter().for_each(keep);
        assert_eq!(left(&dir.path().join("f"), Kind::Replaced), [["a", "b-", "b/c", "b/d"]]);
        // The same path, a file where the moment has a directory, and the other way round.
        ["a", "b", "a/x"].into_iter().for_each(keep);
        assert_eq!(left(&dir.path().join("f"), Kind::Replaced)[1..], [vec!["a", "b"], vec!["a/x"]]);
        moments.keep(Kind::Conflict, "a", &mut put("", "a")).unwrap();
        assert_eq!(left(&dir.path().join("f"), Kind::Replaced).len(), 3);
    }

    #[test]
    fn of_a_path_that_changes_all_the_time_the_newest_stay_and_no_empty_moments() {
        let dir = tempfile::tempdir().unwrap();
        let moments = Moments::new(dir.path().join("f"));
        let keep = |path: &str| moments.keep(Kind::Replaced, path, &mut put("", path)).unwrap();
        keep("other");
        (0..3 * COPIES).for_each(|_| keep("d/log"));
        let left = left(&dir.path().join("f"), Kind::Replaced);
        assert_eq!(left.len(), COPIES + 1, "{left:?}");
        assert_eq!(left[0], ["other"]);
        assert!(left[1..].iter().all(|paths| *paths == ["d/log"]), "{left:?}");
    }

    #[test]
    fn of_what_both_sides_write_again_and_again_more_stay() {
        let dir = tempfile::tempdir().unwrap();
        let moments = Moments::new(dir.path().join("f"));
        let keep = |path: &str, text: &str| moments.keep(Kind::Conflict, path, &mut put(text, path)).unwrap();
        let count = || left(&dir.path().join("f"), Kind::Conflict).len();
        (0..CONFLICTS + 5).for_each(|_| keep("small", "x"));
        assert_eq!(count(), CONFLICTS);
        let large = "x".repeat(usize::try_from(CONFLICTS_SIZE / 10 / 4096 * 4096).unwrap());
        (0..15).for_each(|_| keep("large", &large));
        assert_eq!(count(), CONFLICTS + 10);
        // However large they are, as many stay as of other kinds.
        let larger = "x".repeat(usize::try_from(CONFLICTS_SIZE).unwrap());
        (0..COPIES + 2).for_each(|_| keep("larger", &larger));
        assert_eq!(count(), CONFLICTS + 10 + COPIES);
    }

    /// Not before the next sweep, but with what makes it too much.
    #[test]
    fn what_is_kept_is_limited_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("f");
        let moments = Moments::new(folder.clone());
        // A moment in the past, and more than all that may be kept.
        let old = folder.join("conflicts/20260101T000000000Z-000001");
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("week"), "").unwrap();
        moments.keep(Kind::Conflict, "small", &mut put("", "small")).unwrap();
        assert!(old.join("week").exists());
        let mut sparse = |place: &Path| {
            fs::create_dir_all(place).unwrap();
            let file = fs::File::create_new(place.join("sparse")).unwrap();
            file.set_len(3 << 30).map_err(|error| error.to_string())
        };
        moments.keep(Kind::Conflict, "sparse", &mut sparse).unwrap();
        assert!(!old.join("week").exists(), "a sweep has come");
        assert!(left(&folder, Kind::Conflict).concat().contains(&"sparse".to_owned()), "the newest stays");
    }

    #[test]
    fn what_could_not_be_put_away_counts_as_no_copy() {
        let dir = tempfile::tempdir().unwrap();
        let moments = Moments::new(dir.path().join("f"));
        moments.keep(Kind::Replaced, "a", &mut put("first", "a")).unwrap();
        for _ in 0..2 * COPIES {
            let failed = moments.keep(Kind::Replaced, "a", &mut |_| Err("full".to_owned()));
            assert_eq!(failed, Err("full".to_owned()));
        }
        assert_eq!(left(&dir.path().join("f"), Kind::Replaced).concat(), ["a"]);
    }

    #[test]
    fn a_moment_that_is_over_or_was_moved_away_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut moment = Moment::begin(dir.path(), Kind::Conflict).unwrap();
        assert!(moment.takes("a"));
        fs::rename(&*moment.place, dir.path().join("dismissed")).unwrap();
        assert!(!moment.takes("a"));
        moment = Moment::begin(dir.path(), Kind::Conflict).unwrap();
        moment.begun -= Duration::from_secs(2);
        assert!(!moment.takes("a"));
    }
}
