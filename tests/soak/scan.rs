//! Reads a tree, byte by byte, with code of its own: the product's is what is judged.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ksync_judge::{Content, State, Tree};

/// A file that was changed within this time before it was read is read again: its time may not tell a later change.
const FRESH: Duration = Duration::from_millis(50);
const BLOCK: usize = 64 << 10;

/// Which version of a file something was read of.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// Reads one directory again and again, and files again when they changed.
pub(crate) struct Scanner {
    root: PathBuf,
    read: HashMap<String, (Stamp, State)>,
}

impl Scanner {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, read: HashMap::new() }
    }

    /// What is there now. An entry that goes meanwhile is not there.
    pub(crate) fn scan(&mut self) -> io::Result<Tree> {
        let mut tree = Tree::new();
        let before = std::mem::take(&mut self.read);
        let root = self.root.clone();
        self.add(&root, "", &before, &mut tree)?;
        Ok(tree)
    }

    /// The same, of which nothing is known from before.
    pub(crate) fn afresh(&mut self) -> io::Result<Tree> {
        self.read.clear();
        self.scan()
    }

    fn add(
        &mut self,
        dir: &Path,
        below: &str,
        before: &HashMap<String, (Stamp, State)>,
        tree: &mut Tree,
    ) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let place = entry.path();
            let Some(meta) = there(fs::symlink_metadata(&place))? else { continue };
            let stamp = stamp(&meta);
            let state = match before.get(&path) {
                Some((known, state)) if *known == stamp => state.clone(),
                _ => match there(state(&place, &meta))? {
                    Some(state) => state,
                    None => continue,
                },
            };
            if meta.is_dir() {
                there(self.add(&place, &path, before, tree))?;
            } else if meta.is_file() && settled(&meta) {
                self.read.insert(path.clone(), (stamp, state.clone()));
            }
            tree.insert(path, state);
        }
        Ok(())
    }
}

/// None where it has gone.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        // A file that became a symlink since.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn stamp(meta: &Metadata) -> Stamp {
    (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

fn settled(meta: &Metadata) -> bool {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let changed = Duration::new(
        u64::try_from(meta.ctime()).unwrap_or_default(),
        u32::try_from(meta.ctime_nsec()).unwrap_or_default(),
    );
    since > changed + FRESH
}

/// What is at a path; symlinks are not followed.
pub(crate) fn state_of(path: &Path) -> io::Result<State> {
    match there(fs::symlink_metadata(path))? {
        None => Ok(State::Absent),
        Some(meta) => Ok(there(state(path, &meta))?.unwrap_or(State::Absent)),
    }
}

fn state(path: &Path, meta: &Metadata) -> io::Result<State> {
    let mode = meta.permissions().mode() & 0o7777;
    Ok(if meta.is_dir() {
        State::Dir { mode }
    } else if meta.is_symlink() {
        State::Link { target: fs::read_link(path)?.to_string_lossy().into_owned() }
    } else if meta.is_file() {
        let mut file = open(path)?;
        let (content, size) = read(&mut file)?;
        State::File { content, size, mode }
    } else {
        State::Other
    })
}

/// For reading; an error where it is a symlink.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(no_follow.bits()).map_err(io::Error::other)?;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// What is in a file from where it stands, and how many bytes.
pub(crate) fn read(file: &mut File) -> io::Result<(Content, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK];
    let mut size = 0;
    loop {
        let count = file.read(&mut block)?;
        if count == 0 {
            break;
        }
        hasher.update(&block[..count]);
        size += count as u64;
    }
    Ok((content_of(&hasher), size))
}

fn content_of(hasher: &blake3::Hasher) -> Content {
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Content(half)
}
