//! Which files an outbox has, who needs them, and when they go.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::Instant};

use crate::{
    error::{Error, io_error},
    name::Name,
    room,
};

/// A file that is there or is being brought.
#[derive(Debug)]
struct One {
    leases: usize,
    /// Whether it is complete; it never will be when the sender is gone before that.
    filled_rx: watch::Receiver<bool>,
    /// When it goes, once nobody needs it.
    until: Option<Instant>,
}

impl One {
    fn is_lost(&self) -> bool {
        !*self.filled_rx.borrow() && self.filled_rx.has_changed().is_err()
    }
}

/// All files of an outbox.
#[derive(Debug)]
pub(super) struct Shared {
    dir: PathBuf,
    percent: u64,
    files: Mutex<BTreeMap<Name, One>>,
}

/// What a lease begins with.
pub(super) enum Begun {
    /// The file is there, or is being brought by somebody.
    There(watch::Receiver<bool>),
    /// It is to be brought.
    Empty(Empty),
}

/// An empty file under its unfinished name.
#[derive(Debug)]
pub(super) struct Empty {
    pub(super) file: File,
    pub(super) filled_tx: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, percent: u64) -> Self {
        Self { dir, percent, files: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, One>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the file is.
    pub(super) fn path(&self, name: Name) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// Where it is while it is being brought.
    pub(super) fn unfinished(&self, name: Name) -> PathBuf {
        self.dir.join(name.unfinished())
    }

    /// Whether a file is here, or is being brought.
    pub(super) fn has(&self, name: Name) -> bool {
        self.lock().contains_key(&name)
    }

    /// One more needs a file.
    pub(super) fn begin(&self, name: Name, bytes: u64) -> Result<Begun, Error> {
        let mut files = self.lock();
        if let Some(one) = files.get_mut(&name)
            && !one.is_lost()
        {
            one.leases += 1;
            one.until = None;
            return Ok(Begun::There(one.filled_rx.clone()));
        }
        if room::has(&self.dir, bytes, self.percent).is_err() {
            // What only lingers makes room.
            remove(self, &mut files, |one| one.leases == 0);
            room::has(&self.dir, bytes, self.percent)?;
        }
        let path = self.unfinished(name);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(io_error("create", path))?;
        let (filled_tx, filled_rx) = watch::channel(false);
        let leases = files.get(&name).map_or(0, |one| one.leases) + 1;
        files.insert(name, One { leases, filled_rx, until: None });
        Ok(Begun::Empty(Empty { file, filled_tx }))
    }

    /// One less needs it.
    pub(super) fn end(&self, name: Name, until: Instant) {
        if let Some(one) = self.lock().get_mut(&name) {
            one.leases -= 1;
            if one.leases == 0 {
                one.until = Some(if one.is_lost() { Instant::now() } else { until });
            }
        }
    }

    /// When the next file goes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.lock().values().filter_map(|one| one.until).min()
    }

    /// Removes those whose time has come.
    pub(super) fn sweep(&self, now: Instant) -> Vec<Name> {
        remove(self, &mut self.lock(), |one| one.until.is_some_and(|until| until <= now))
    }
}

/// Under the lock, so that nobody brings one of them anew meanwhile.
fn remove(shared: &Shared, files: &mut BTreeMap<Name, One>, which: impl Fn(&One) -> bool) -> Vec<Name> {
    let gone: Vec<Name> = files.iter().filter(|(_, one)| which(one)).map(|(name, _)| *name).collect();
    for name in &gone {
        files.remove(name);
        match fs::remove_file(shared.path(*name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, %name, "remove a file of a spool");
            }
            _ => {}
        }
    }
    gone
}
