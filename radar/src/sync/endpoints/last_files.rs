//! Files of a container that has ended, kept open for whoever was told of them: its runtime may remove them at any moment.
//!
//! Invariant: no more than [`MOST`] are open, and none before the end.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    sync::Arc,
    time::{Duration, Instant},
};

use ksync_tree::{Root, open_file};

/// What was told within this time before the end may not have been read yet.
const RECENT: Duration = Duration::from_secs(10);
const MOST: usize = 256;

/// What was told lately, and what is open.
#[derive(Debug, Default)]
pub(super) struct LastFiles {
    told: VecDeque<(Instant, Arc<str>)>,
    open: HashMap<Arc<str>, File>,
}

impl LastFiles {
    /// The client was told of a file, and not of its content.
    pub(super) fn told(&mut self, path: &Arc<str>) {
        let now = Instant::now();
        while self.told.len() >= MOST || self.told.front().is_some_and(|(then, _)| now - *then > RECENT) {
            self.told.pop_front();
        }
        self.told.push_back((now, Arc::clone(path)));
    }

    /// The container has ended: what was told lately is opened. Blocks.
    pub(super) fn open_all(&mut self, root: &Root) {
        for (then, path) in std::mem::take(&mut self.told) {
            if then.elapsed() <= RECENT && self.open.len() < MOST && !self.open.contains_key(&path) {
                match open_file(root, &path) {
                    Ok(Some(file)) => drop(self.open.insert(path, file)),
                    Ok(None) => {}
                    Err(error) => tracing::debug!(path = &*path, %error, "keep a last file open"),
                }
            }
        }
    }

    /// A file that is open.
    pub(super) fn get(&self, path: &str) -> Option<std::io::Result<File>> {
        self.open.get(path).map(File::try_clone)
    }
}
