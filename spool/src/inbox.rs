//! An inbox: where syncthing pulls files to, and who waits for them.
//!
//! Invariant: a file is waited for as long as anything is written in the inbox, and no longer; what is in it is opened without
//! following a symlink, because the other end says what is written.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    error::{Error, blocking, io_error},
    name::Name,
    room,
};

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes in a second that syncthing hashes at the least, before it goes on with a file that it has a part of.
const HASHED: u64 = 100_000_000;
/// How often it is looked whether the file is there.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often it is looked whether anything comes.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// How often what nobody waits for is looked for: syncthing pulls what the other end offers, and its transfer may have been
/// given up before anybody waited.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// After which what nobody waits for is removed. Who has lost the connection may come back for it before that: as long as radar
/// keeps a session without a stream.
const OLD: Duration = Duration::from_secs(30);

/// Who waits for a file.
#[derive(Debug, Default)]
struct Wanted {
    count: usize,
    /// Since when nobody does.
    since: Option<Instant>,
}

impl Wanted {
    /// Whether nobody waits for it, nor comes back for it.
    fn is_over(&self) -> bool {
        self.count == 0 && self.since.is_none_or(|since| since.elapsed() >= OLD)
    }
}

/// Files that are waited for, or were a while ago.
type Awaited = Arc<Mutex<HashMap<Name, Wanted>>>;

fn lock(awaited: &Awaited) -> MutexGuard<'_, HashMap<Name, Wanted>> {
    awaited.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where syncthing pulls files to.
#[derive(Debug)]
pub struct Inbox {
    dir: PathBuf,
    percent: u64,
    awaited: Awaited,
    /// Sweeps end with it.
    _end_tx: oneshot::Sender<()>,
}

/// A file that has come. It may be read as long as this is there.
#[derive(Debug)]
pub struct Arrived {
    /// Its content; to be hashed by whoever reads it.
    pub file: File,
    _waiting: Waiting,
}

impl Inbox {
    /// In `dir`, of whose file system `percent` stay free.
    pub(crate) fn new(dir: PathBuf, percent: u64) -> Self {
        let (end_tx, end_rx) = oneshot::channel();
        let awaited = Awaited::default();
        tokio::spawn(sweep_often(dir.clone(), Arc::clone(&awaited), end_rx));
        Self { dir, percent, awaited, _end_tx: end_tx }
    }

    /// Waits for a file of so many `bytes`.
    pub async fn wait(&self, name: Name, bytes: u64) -> Result<Arrived, Error> {
        let waiting = Waiting::new(&self.awaited, name);
        let patience = PATIENCE + Duration::from_secs(bytes / HASHED);
        let (mut before, mut since, mut looked) = (Vec::new(), Instant::now(), None::<Instant>);
        loop {
            let path = self.dir.join(name.to_string());
            if let Some(file) = blocking(move || open(&path, name, bytes)).await? {
                return Ok(Arrived { file, _waiting: waiting });
            }
            if looked.is_none() {
                // syncthing would not say so, and wait.
                let (dir, percent) = (self.dir.clone(), self.percent);
                blocking(move || room::has(&dir, bytes, percent)).await?;
            }
            if looked.is_none_or(|looked| looked.elapsed() >= PROGRESS_EVERY) {
                let dir = self.dir.clone();
                let now = blocking(move || signs(&dir)).await?;
                looked = Some(Instant::now());
                if now != before {
                    (before, since) = (now, Instant::now());
                } else if since.elapsed() >= patience {
                    drop(waiting);
                    remove_unawaited(self.dir.clone(), Arc::clone(&self.awaited), name).await;
                    return Err(Error::Stuck { name, waited: patience });
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether something of a file has come.
    pub(crate) fn has_begun(&self, name: Name) -> bool {
        [name.unfinished(), name.to_string()].iter().any(|name| self.dir.join(name).exists())
    }
}

/// The file at `path`, once it is there: it gets its name when it is complete.
fn open(path: &Path, name: Name, bytes: u64) -> Result<Option<File>, Error> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("open", path)(source)),
    };
    let meta = file.metadata().map_err(io_error("stat", path))?;
    if meta.is_file() && meta.len() == bytes { Ok(Some(file)) } else { Err(Error::NoFile { name, bytes }) }
}

/// What changes when a file is written: one that comes has its full size from the beginning, so its blocks are looked at.
type Sign = (u64, u64, i64, i64);

fn sign(meta: &Metadata) -> Sign {
    (meta.ino(), meta.blocks(), meta.mtime(), meta.mtime_nsec())
}

/// What changes when something is written in `dir`.
fn signs(dir: &Path) -> Result<Vec<Sign>, Error> {
    let mut signs = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        // What is gone before it is looked at is a sign by that.
        if let Ok(meta) = entry.and_then(|entry| entry.metadata()) {
            signs.push(sign(&meta));
        }
    }
    signs.sort_unstable();
    Ok(signs)
}

/// What was seen of what nobody waits for: how it was, and since when it is so.
type Seen = HashMap<OsString, (Sign, Instant)>;

async fn sweep_often(dir: PathBuf, awaited: Awaited, mut end_rx: oneshot::Receiver<()>) {
    let mut next = tokio::time::interval(SWEEP_EVERY);
    let mut seen = Seen::new();
    loop {
        tokio::select! {
            _ = &mut end_rx => return,
            _ = next.tick() => {}
        }
        let (dir, awaited, before) = (dir.clone(), Arc::clone(&awaited), std::mem::take(&mut seen));
        match blocking(move || sweep(&dir, &awaited, &before)).await {
            Ok(now) => seen = now,
            Err(error) => {
                tracing::warn!(error = ksync_common::chain(&error), "remove what nobody waits for");
            }
        }
    }
}

/// Removes what nobody waits for and nobody comes back for. syncthing removes a whole file when the other end has none any more,
/// and never one that it has a part of.
fn sweep(dir: &Path, awaited: &Awaited, before: &Seen) -> Result<Seen, Error> {
    let entries = match fs::read_dir(dir) {
        // The spool ends just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::new()),
        entries => entries.map_err(io_error("read", dir))?,
    };
    let mut awaited = lock(awaited);
    awaited.retain(|_, wanted| !wanted.is_over());
    let wanted: Vec<OsString> =
        awaited.keys().flat_map(|name| [name.to_string(), name.unfinished()]).map(OsString::from).collect();
    let (now, mut seen) = (Instant::now(), Seen::new());
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Ok(meta) = entry.metadata() else { continue };
        if wanted.contains(&name) {
            continue;
        }
        let as_before = before.get(&name).filter(|(before, _)| *before == sign(&meta));
        let since = as_before.map_or(now, |(_, since)| *since);
        if now.duration_since(since) < OLD {
            seen.insert(name, (sign(&meta), since));
            continue;
        }
        let path = entry.path();
        let gone = if meta.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        tracing::debug!(path = %path.display(), gone = gone.is_ok(), "a file that nobody waits for");
    }
    Ok(seen)
}

/// Somebody waits for a file.
#[derive(Debug)]
struct Waiting {
    awaited: Awaited,
    name: Name,
}

impl Waiting {
    fn new(awaited: &Awaited, name: Name) -> Self {
        lock(awaited).entry(name).or_default().count += 1;
        Self { awaited: Arc::clone(awaited), name }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(wanted) = lock(&self.awaited).get_mut(&self.name) {
            wanted.count -= 1;
            wanted.since = Some(Instant::now());
        }
    }
}

/// Removes what has come of a file, unless somebody waits for it.
async fn remove_unawaited(dir: PathBuf, awaited: Awaited, name: Name) {
    let removed = blocking(move || {
        let awaited = lock(&awaited);
        if awaited.get(&name).is_none_or(|wanted| wanted.count == 0) {
            for left in [name.unfinished(), name.to_string()] {
                let path = dir.join(left);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(io_error("remove", &path)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    });
    if let Err(error) = removed.await {
        tracing::warn!(error = ksync_common::chain(&error), "remove what nobody waits for");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use super::*;

    fn scene() -> (tempfile::TempDir, Inbox, Name) {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(dir.path().to_owned(), 0);
        (dir, inbox, Name::new([7; 32]))
    }

    #[tokio::test]
    async fn a_file_is_taken_when_it_has_its_name() {
        let (dir, inbox, name) = scene();
        fs::write(dir.path().join(name.unfinished()), "te").unwrap();
        let (at, unfinished) = (dir.path().join(name.to_string()), dir.path().join(name.unfinished()));
        let coming = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            fs::write(&unfinished, "text").unwrap();
            fs::rename(&unfinished, &at).unwrap();
        };
        let (arrived, ()) = tokio::join!(inbox.wait(name, 4), coming);
        let (mut arrived, mut text) = (arrived.unwrap(), String::new());
        let awaited = || lock(&inbox.awaited).get(&name).map(|wanted| wanted.count);
        assert_eq!(awaited(), Some(1));
        arrived.file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        drop(arrived);
        assert_eq!(awaited(), Some(0));
    }

    #[tokio::test]
    async fn nothing_else_is_taken_for_it() {
        let (dir, inbox, name) = scene();
        let at = dir.path().join(name.to_string());
        fs::write(dir.path().join("other"), "text").unwrap();
        symlink(dir.path().join("other"), &at).unwrap();
        assert!(matches!(inbox.wait(name, 4).await, Err(Error::Io { .. })), "a symlink");
        fs::remove_file(&at).unwrap();
        fs::create_dir(&at).unwrap();
        assert!(matches!(inbox.wait(name, 4).await, Err(Error::NoFile { .. })), "a directory");
        fs::remove_dir(&at).unwrap();
        fs::write(&at, "longer").unwrap();
        assert!(matches!(inbox.wait(name, 4).await, Err(Error::NoFile { .. })), "another size");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_comes_back_for_is_removed() {
        let (dir, inbox, name) = scene();
        let unfinished = dir.path().join(name.unfinished());
        fs::write(&unfinished, "te").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), inbox.wait(name, 4)).await.is_err());
        tokio::time::sleep(OLD / 2).await;
        assert!(unfinished.exists(), "whoever comes back goes on with it");
        let since = Instant::now();
        while unfinished.exists() {
            assert!(since.elapsed() < OLD * 2, "it is still there");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// syncthing pulls what the other end offers, and that may give up before this one was told to wait.
    #[tokio::test(start_paused = true)]
    async fn what_nobody_has_waited_for_is_removed_when_nothing_more_comes() {
        let (dir, _inbox, name) = scene();
        let unfinished = dir.path().join(name.unfinished());
        for length in 1..=4 {
            fs::write(&unfinished, vec![0; length * 4096]).unwrap();
            tokio::time::sleep(OLD / 10 * 9).await;
            assert!(unfinished.exists(), "it is being written");
        }
        let since = Instant::now();
        while unfinished.exists() {
            assert!(since.elapsed() < OLD + 3 * SWEEP_EVERY, "it is still there");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_is_given_up_and_what_comes_slowly_is_not() {
        let (dir, inbox, name) = scene();
        let unfinished = dir.path().join(name.unfinished());
        let begun = Instant::now();
        let slow = async {
            for length in 1..=4 {
                tokio::time::sleep(PATIENCE / 10 * 9).await;
                fs::write(&unfinished, vec![0; length * 4096]).unwrap();
            }
        };
        let (given_up, ()) = tokio::join!(inbox.wait(name, 1 << 20), slow);
        assert!(matches!(given_up, Err(Error::Stuck { .. })), "{given_up:?}");
        let after = begun.elapsed();
        assert!(after > PATIENCE * 4 && after < PATIENCE * 6, "{after:?}");
        assert!(!unfinished.exists());
    }
}
