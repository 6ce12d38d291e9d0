//! The hand of a writer: it does what programs do to files, and notes for each path what stood there before and what
//! stands there since. What it replaces or removes is read from the very inode that went.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ksync_judge::{Micros, Op, Side, State};

use crate::{clock, scan};

/// A directory that somebody puts something into while it is removed is tried so often.
const TRIES: usize = 5;

/// All that the writers of a round did.
#[derive(Default)]
pub(crate) struct Journal {
    ops: Mutex<Vec<Op>>,
    /// Deeds that came to nothing, the files being others than they seemed.
    pub(crate) refused: AtomicU64,
}

impl Journal {
    fn add(&self, op: Op) {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner).push(op);
    }

    /// In the order of their beginnings.
    pub(crate) fn take(&self) -> Vec<Op> {
        let mut ops = std::mem::take(&mut *self.ops.lock().unwrap_or_else(PoisonError::into_inner));
        ops.sort_by_key(|op| op.begun);
        ops
    }
}

/// No content is written twice in a run.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Content of about so many bytes, which begins with who wrote it.
pub(crate) fn content(side: &Side, size: usize) -> Vec<u8> {
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let line = format!("{number} by {side}\n");
    let mut bytes = line.clone().into_bytes();
    // Filler that does not shrink to nothing on its way.
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(format!("{state:016x}\n").as_bytes());
    }
    bytes
}

/// One side's.
pub(crate) struct Hand<'a> {
    pub(crate) root: PathBuf,
    pub(crate) side: Side,
    pub(crate) journal: &'a Journal,
}

impl Hand<'_> {
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn note(&self, begun: Micros, path: &str, what: &'static str, before: State, after: State) {
        let (side, path) = (self.side.clone(), path.to_owned());
        self.journal.add(Op { begun, ended: clock::now(), side, path, what, before, after });
    }

    /// Notes what came of it, and that nobody knows where it went wrong.
    fn noted(
        &self,
        path: &str,
        what: &'static str,
        act: impl FnOnce() -> io::Result<(State, State)>,
    ) -> io::Result<()> {
        let begun = clock::now();
        match act() {
            Ok((before, after)) => self.note(begun, path, what, before, after),
            Err(error) => {
                if !untouched(&error) {
                    self.note(begun, path, what, State::Unknown, State::Unknown);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes over a file, as `echo >file` does, or makes it.
    pub(crate) fn overwrite(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.noted(path, "wrote", || {
            let options = || {
                let mut options = File::options();
                options.read(true).write(true).mode(0o644);
                options
            };
            let (mut file, before) = match options().create_new(true).open(self.at(path)) {
                Ok(file) => (file, State::Absent),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let mut file = options().open(self.at(path))?;
                    let before = file_state(&mut file)?;
                    file.set_len(0)?;
                    file.rewind()?;
                    (file, before)
                }
                Err(error) => return Err(error),
            };
            file.write_all(bytes)?;
            file.rewind()?;
            Ok((before, file_state(&mut file)?))
        })
    }

    pub(crate) fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.noted(path, "appended", || {
            let mut file = File::options().read(true).append(true).open(self.at(path))?;
            let before = file_state(&mut file)?;
            file.write_all(bytes)?;
            file.seek(SeekFrom::Start(0))?;
            Ok((before, file_state(&mut file)?))
        })
    }

    /// Puts a new file in the place of another, by way of a name beside it.
    pub(crate) fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = format!("{path}.new");
        self.overwrite(&beside, bytes)?;
        if let Ok(meta) = fs::symlink_metadata(self.at(path)) {
            self.chmod(&beside, meta.mode() & 0o777)?;
        }
        self.rename_file(&beside, path)
    }

    /// Moves a file, over another where there is one.
    pub(crate) fn rename_file(&self, from: &str, to: &str) -> io::Result<()> {
        let begun = clock::now();
        let moved = || -> io::Result<(State, State)> {
            let mut old = Held::of(&self.at(to))?;
            fs::rename(self.at(from), self.at(to))?;
            let state = scan::state_of(&self.at(to))?;
            Ok((old.gone()?, state))
        };
        let (before, state) = match moved() {
            Ok(states) => states,
            Err(error) => {
                for path in [from, to].into_iter().filter(|_| !untouched(&error)) {
                    self.note(begun, path, "moved", State::Unknown, State::Unknown);
                }
                return Err(error);
            }
        };
        self.note(begun, from, "moved away", state.clone(), State::Absent);
        self.note(begun, to, "moved here", before, state);
        Ok(())
    }

    /// Moves a directory to where nothing is, with all that is in it.
    pub(crate) fn rename_dir(&self, from: &str, to: &str) -> io::Result<()> {
        let begun = clock::now();
        fs::rename(self.at(from), self.at(to))?;
        let moved = scan::Scanner::new(self.at(to)).scan()?;
        let dir = scan::state_of(&self.at(to))?;
        let all = std::iter::once((String::new(), dir));
        for (rest, state) in all.chain(moved.into_iter().map(|(path, state)| (format!("/{path}"), state))) {
            self.note(begun, &format!("{from}{rest}"), "moved away", state.clone(), State::Absent);
            self.note(begun, &format!("{to}{rest}"), "moved here", State::Absent, state);
        }
        Ok(())
    }

    pub(crate) fn unlink(&self, path: &str) -> io::Result<()> {
        self.noted(path, "removed", || {
            let mut old = Held::of(&self.at(path))?;
            fs::remove_file(self.at(path))?;
            Ok((old.gone()?, State::Absent))
        })
    }

    pub(crate) fn mkdir(&self, path: &str) -> io::Result<()> {
        self.noted(path, "made", || {
            fs::create_dir(self.at(path))?;
            Ok((State::Absent, scan::state_of(&self.at(path))?))
        })
    }

    /// Makes a path's directories where they are missing.
    pub(crate) fn mkdirs_for(&self, path: &str) -> io::Result<()> {
        for (end, _) in path.match_indices('/') {
            if !self.at(&path[..end]).is_dir() {
                self.mkdir(&path[..end])?;
            }
        }
        Ok(())
    }

    /// Of a file. Where another comes into its place meanwhile, nobody can tell which one has the mode.
    pub(crate) fn chmod(&self, path: &str, mode: u32) -> io::Result<()> {
        self.noted(path, "chmod", || {
            let mut file = scan::open(&self.at(path))?;
            let before = file_state(&mut file)?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            let same = fs::symlink_metadata(self.at(path)).is_ok_and(|meta| {
                file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (meta.dev(), meta.ino()))
            });
            let after = match before {
                State::File { content, size, .. } if same => State::File { content, size, mode },
                _ => State::Unknown,
            };
            Ok((before, after))
        })
    }

    pub(crate) fn symlink(&self, path: &str, target: &str) -> io::Result<()> {
        self.noted(path, "linked", || {
            std::os::unix::fs::symlink(target, self.at(path))?;
            Ok((State::Absent, State::Link { target: target.to_owned() }))
        })
    }

    /// As `rm -r` does, with a pause after each file.
    pub(crate) fn remove_dir(&self, path: &str, pause: Duration) -> io::Result<()> {
        for _ in 0..TRIES {
            for entry in fs::read_dir(self.at(path))? {
                let entry = entry?;
                let below = format!("{path}/{}", entry.file_name().to_string_lossy());
                if entry.file_type()?.is_dir() {
                    self.remove_dir(&below, pause)?;
                } else {
                    self.unlink(&below)?;
                    thread::sleep(pause);
                }
            }
            let begun = clock::now();
            let before = scan::state_of(&self.at(path))?;
            match fs::remove_dir(self.at(path)) {
                Ok(()) => {
                    self.note(begun, path, "removed", before, State::Absent);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) => return Err(error),
            }
        }
        self.note(clock::now(), path, "could not remove", State::Unknown, State::Unknown);
        Err(io::ErrorKind::DirectoryNotEmpty.into())
    }
}

/// Whether nothing was done because something else was there than it seemed.
fn untouched(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | AlreadyExists | NotADirectory | IsADirectory)
}

fn file_state(file: &mut File) -> io::Result<State> {
    let (content, size) = scan::read(file)?;
    Ok(State::File { content, size, mode: file.metadata()?.permissions().mode() & 0o7777 })
}

/// What is at a path, held while it goes.
struct Held {
    file: Option<File>,
    state: State,
}

impl Held {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(match scan::open(path) {
            Ok(file) if file.metadata()?.is_file() => Self { file: Some(file), state: State::Unknown },
            _ => Self { file: None, state: scan::state_of(path)? },
        })
    }

    /// What it was, which is unknown where another has gone in its place.
    fn gone(&mut self) -> io::Result<State> {
        let Some(file) = &mut self.file else { return Ok(self.state.clone()) };
        if file.metadata()?.nlink() > 0 {
            return Ok(State::Unknown);
        }
        file_state(file)
    }
}

/// All of a file, for who writes a part of it anew.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    scan::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}
