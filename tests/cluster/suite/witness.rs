//! Standing by while something is broken on purpose: local files are read again and again, and one that was
//! gone or different for an instant is a failure, even if it came back.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::tree::Tree;

const INTERVAL: Duration = Duration::from_millis(3);

/// Watches what is below a directory from now on. More may come; nothing may go or change.
#[derive(Debug)]
pub(crate) struct Witness {
    root: PathBuf,
    expected: Tree,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Witness {
    #[track_caller]
    pub(crate) fn over(root: &Path) -> Self {
        let expected = Tree::read(root).expect("read the local tree");
        assert!(expected.len() > 0, "a witness of nothing proves nothing");
        let over = Arc::new(AtomicBool::new(false));
        let (tree, dir, end) = (expected.clone(), root.to_owned(), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                let lost = tree.lost(&dir);
                if !lost.is_empty() {
                    return lost;
                }
                thread::sleep(INTERVAL);
            }
            Vec::new()
        });
        Self { root: root.to_owned(), expected, over, thread }
    }

    /// Ends it; panics when anything was lost, meanwhile or now.
    #[track_caller]
    pub(crate) fn intact(self) {
        self.over.store(true, Ordering::SeqCst);
        let meanwhile = self.thread.join().expect("the witness's thread");
        assert!(meanwhile.is_empty(), "local files were lost or changed: {meanwhile:?}");
        let lost = self.expected.lost(&self.root);
        assert!(lost.is_empty(), "local files are lost or changed: {lost:?}");
    }
}
