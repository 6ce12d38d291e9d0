//! Deletions that wait for a person: more than half of a folder, made by one container at once.
//!
//! Durable, one file per local path, replaced by rename: a watcher that starts anew goes on waiting. A file that can't be
//! read is as good as none, and then the deleted files are put back into the container: nothing is lost here. Beside it stand
//! the files that were taken out before the threshold was exceeded ([`Rollback`]), until they are back in their places.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use ksync_tree::{Entry, Kind, Root, stat_entry};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::container::ContainerRef;

/// Deletions of one container that wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingBurst {
    /// The container.
    #[serde(rename = "who")]
    pub by: ContainerRef,
    /// When the threshold was exceeded.
    pub since: Timestamp,
    /// Files of the folder before any of it was applied.
    pub of: usize,
    /// What waits, as it was here; directories too.
    paths: BTreeMap<String, Still>,
}

/// What a path was here when its deletion was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Still {
    /// Whether it counts; a directory does not.
    file: bool,
    size: u64,
    mtime_ns: i64,
    mode: u32,
}

impl Still {
    fn of(entry: &Entry) -> Self {
        let file = entry.kind != Kind::Dir;
        // What a directory's size and time are is of no matter.
        let (size, mtime_ns) = if file { (entry.size, entry.mtime_ns) } else { (0, 0) };
        Self { file, size, mtime_ns, mode: entry.mode }
    }
}

impl PendingBurst {
    /// Nothing waits yet.
    pub(in crate::local) fn new(by: ContainerRef, of: usize) -> Self {
        Self { by, since: Timestamp::now(), of, paths: BTreeMap::new() }
    }

    /// Files that wait.
    pub(crate) fn files(&self) -> usize {
        self.paths.values().filter(|still| still.file).count()
    }

    /// How many files are among `paths`.
    pub(in crate::local) fn files_of(&self, paths: &[String]) -> usize {
        paths.iter().filter(|path| self.paths.get(*path).is_some_and(|still| still.file)).count()
    }

    /// Adds what was deleted over there and is here.
    pub(in crate::local) fn add(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.paths.extend(entries.into_iter().map(|entry| (entry.path.clone(), Still::of(&entry))));
    }

    /// A sentence: what happened, and how it is answered.
    pub(crate) fn reason(&self) -> String {
        let spec = &self.by.spec;
        format!(
            "pod `{}` deleted {} of {} files within seconds; all of them are still here: `kubectl ksync accept {spec}` \
             deletes them here too, `kubectl ksync decline {spec}` puts them back into the container",
            self.by.pod,
            self.files(),
            self.of
        )
    }

    /// Those of its paths that are still what they were below `root`, what is in a directory before the directory.
    pub(in crate::local) fn unchanged(&self, root: &Root) -> Result<Vec<String>, ksync_tree::Error> {
        let mut paths = Vec::new();
        for (path, still) in self.paths.iter().rev() {
            if stat_entry(root, path, false)?.is_some_and(|now| Still::of(&now) == *still) {
                paths.push(path.clone());
            }
        }
        Ok(paths)
    }
}

/// All that waits in one folder, by container id. Clones share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PendingDeletions(Arc<BTreeMap<String, PendingBurst>>);

impl PendingDeletions {
    /// What a container's deletions wait for; none when they don't.
    pub(crate) fn of(&self, container: &str) -> Option<&PendingBurst> {
        self.0.get(container)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PendingBurst> {
        self.0.values()
    }

    /// Adds to what waits for a container.
    pub(in crate::local) fn merge(&mut self, burst: PendingBurst) {
        match Arc::make_mut(&mut self.0).entry(burst.by.container.clone()) {
            std::collections::btree_map::Entry::Occupied(mut old) => old.get_mut().paths.extend(burst.paths),
            std::collections::btree_map::Entry::Vacant(new) => drop(new.insert(burst)),
        }
    }

    /// One more deletion of a container whose deletions wait already. Returns whether they do.
    pub(in crate::local) fn add(&mut self, container: &str, entry: impl FnOnce() -> Option<Entry>) -> bool {
        if !self.0.contains_key(container) {
            return false;
        }
        if let Some(burst) = Arc::make_mut(&mut self.0).get_mut(container) {
            burst.add(entry());
        }
        true
    }

    /// Keeps those that `keep` says. Returns whether some went.
    pub(in crate::local) fn retain(&mut self, keep: impl Fn(&PendingBurst) -> bool) -> bool {
        let some = self.0.values().any(|burst| !keep(burst));
        if some {
            Arc::make_mut(&mut self.0).retain(|_, burst| keep(burst));
        }
        some
    }
}

/// What was taken out of the folder at one moment, of a burst that waits for a person now: it is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::local) struct Rollback {
    /// Where the files are kept.
    pub(in crate::local) kept: PathBuf,
    /// By path; of a directory its mode, because nothing is kept of it.
    pub(in crate::local) paths: BTreeMap<String, Option<u32>>,
}

/// Where the pending deletions of a folder are kept.
#[derive(Debug, Clone)]
pub(crate) struct PendingFile(PathBuf);

#[derive(Serialize, Deserialize)]
struct Text {
    version: u32,
    #[serde(rename = "holds")]
    bursts: Vec<PendingBurst>,
    #[serde(rename = "owed", default, skip_serializing_if = "Vec::is_empty")]
    rollbacks: Vec<Rollback>,
}

impl PendingFile {
    /// In `dir`, which need not exist, for the local path `path`.
    pub(crate) fn new(dir: &Path, path: &Path) -> Self {
        Self(dir.join(crate::home::short_hash(path.as_os_str().as_encoded_bytes())))
    }

    /// Reads it.
    pub(in crate::local) fn load(&self) -> (PendingDeletions, Vec<Rollback>) {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Default::default(),
            Err(error) => {
                warn!(path = %self.0.display(), %error, "read what waits; going on without");
                return Default::default();
            }
        };
        let Ok(Text { version: 1, bursts, rollbacks }) = serde_json::from_str::<Text>(&text) else {
            warn!(path = %self.0.display(), "what waits can't be read; going on without");
            return Default::default();
        };
        let bursts = bursts.into_iter().map(|burst| (burst.by.container.clone(), burst)).collect();
        (PendingDeletions(Arc::new(bursts)), rollbacks)
    }

    /// Replaces it; without anything that waits there is no file.
    pub(in crate::local) fn save(&self, bursts: &PendingDeletions, rollbacks: &[Rollback]) -> io::Result<()> {
        if bursts.is_empty() && rollbacks.is_empty() {
            return match fs::remove_file(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let dir = self.0.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir)?;
        let text =
            Text { version: 1, bursts: bursts.iter().cloned().collect(), rollbacks: rollbacks.to_vec() };
        let mut file = tempfile::Builder::new().prefix(".ksync.").suffix(".tmp").tempfile_in(dir)?;
        file.write_all(serde_json::to_string(&text)?.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.0).map_err(|error| error.error)?;
        fs::File::open(dir)?.sync_all()
    }

    /// Forgets what waits for containers of these specs of the local path: they are no more.
    pub(crate) fn forget(&self, specs: &[String]) -> io::Result<()> {
        let (mut bursts, rollbacks) = self.load();
        if bursts.retain(|burst| !specs.contains(&burst.by.spec)) {
            self.save(&bursts, &rollbacks)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ksync_tree::{Root, stat_entry};

    use super::{ContainerRef, PendingBurst, PendingDeletions, PendingFile, Rollback};

    fn by(container: &str) -> ContainerRef {
        ContainerRef { spec: "main".into(), container: container.into(), pod: "app-1".into() }
    }

    #[test]
    fn it_waits_through_a_restart_and_only_for_what_is_unchanged() {
        let (here, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(here.path().join("d")).unwrap();
        for name in ["d/a", "b", "edited", "gone"] {
            fs::write(here.path().join(name), name).unwrap();
        }
        let root = Root::open(here.path()).unwrap();
        let mut burst = PendingBurst::new(by("c"), 5);
        let all = ["d", "d/a", "b", "edited", "gone"];
        burst.add(all.iter().filter_map(|path| stat_entry(&root, path, false).unwrap()));
        let mut bursts = PendingDeletions::default();
        bursts.merge(burst);
        let file = PendingFile::new(&dir.path().join("waiting"), here.path());
        let paths = [("d".to_owned(), Some(0o755)), ("d/x".to_owned(), None)];
        let rollbacks = vec![Rollback { kept: "/kept/m".into(), paths: paths.into() }];
        file.save(&bursts, &rollbacks).unwrap();
        let (read, still_rolled_back) = file.load();
        assert_eq!((&read, still_rolled_back), (&bursts, rollbacks));
        fs::write(here.path().join("edited"), "here, meanwhile").unwrap();
        fs::remove_file(here.path().join("gone")).unwrap();
        let burst = read.of("c").unwrap();
        assert_eq!(
            (burst.files(), burst.unchanged(&root).unwrap()),
            (4, vec!["d/a".into(), "d".into(), "b".into()])
        );
        file.forget(&["other".to_owned()]).unwrap();
        assert!(!file.load().0.is_empty());
        file.forget(&["main".to_owned()]).unwrap();
        let (left, rollbacks) = file.load();
        assert!(left.is_empty() && rollbacks.len() == 1, "a debt is paid whoever asks no more");
        file.save(&left, &[]).unwrap();
        assert!(!file.0.exists());
    }

    /// What a watcher of an older version has written.
    #[test]
    fn the_file_keeps_its_format() {
        let dir = tempfile::tempdir().unwrap();
        let file = PendingFile::new(dir.path(), "/x".as_ref());
        let text = concat!(
            r#"{"version":1,"holds":[{"who":{"spec":"main","container":"c","pod":"app-1"},"since":"2026-01-01T00:00:00Z","#,
            r#""of":5,"paths":{"b":{"file":true,"size":1,"mtime_ns":2,"mode":420}}}],"#,
            r#""owed":[{"kept":"/kept/m","paths":{"d":493,"d/x":null}}]}"#
        );
        fs::write(&file.0, text).unwrap();
        let (bursts, rollbacks) = file.load();
        let burst = bursts.of("c").unwrap();
        assert_eq!((&burst.by, burst.files(), rollbacks.len()), (&by("c"), 1, 1));
        file.save(&bursts, &rollbacks).unwrap();
        assert_eq!(fs::read_to_string(&file.0).unwrap(), text);
    }

    #[test]
    fn damage_is_as_good_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = PendingFile::new(dir.path(), "/x".as_ref());
        for text in ["", "{", "{\"version\":2,\"holds\":[]}"] {
            fs::write(&file.0, text).unwrap();
            assert_eq!(file.load(), Default::default(), "{text}");
        }
        fs::write(&file.0, "{\"version\":1,\"holds\":[]}").unwrap();
        assert_eq!(file.load(), Default::default());
    }

    #[test]
    fn it_says_what_happened_with_right_numbers_and_both_answers() {
        let here = tempfile::tempdir().unwrap();
        let root = Root::open(here.path()).unwrap();
        let mut burst = PendingBurst::new(by("c"), 40);
        for number in 0..39 {
            fs::write(here.path().join(number.to_string()), "").unwrap();
            burst.add(stat_entry(&root, &number.to_string(), false).unwrap());
        }
        assert_eq!(
            burst.reason(),
            "pod `app-1` deleted 39 of 40 files within seconds; all of them are still here: `kubectl ksync accept \
             main` deletes them here too, `kubectl ksync decline main` puts them back into the container"
        );
    }
}
