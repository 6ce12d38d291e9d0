//! Writers that do what people and programs do, and books of what each of them has made and undone: at the end nothing may be
//! missing that its maker's side has not undone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// What was written, and what was undone by somebody who had it before his eyes.
#[derive(Debug, Default)]
pub(super) struct Books {
    made: Mutex<BTreeMap<String, String>>,
    undone: Mutex<BTreeSet<String>>,
}

impl Books {
    /// What is missing: was made, not undone, and is not `left` anywhere.
    pub(super) fn missing(&self, left: &BTreeSet<String>) -> Vec<String> {
        let undone = self.undone.lock().unwrap();
        let made = self.made.lock().unwrap();
        let missing =
            made.iter().filter(|(content, _)| !undone.contains(*content) && !left.contains(*content));
        missing.map(|(content, by)| format!("`{}` of {by}", &content[..content.len().min(40)])).collect()
    }

    fn undo(&self, content: String) {
        tracing::trace!(text = &content[..content.len().min(30)], "undone");
        self.undone.lock().unwrap().insert(content);
    }
}

pub(super) struct Writer {
    side: PathBuf,
    private: PathBuf,
    name: String,
    rng: SmallRng,
    count: u64,
    books: Arc<Books>,
    touched: BTreeSet<String>,
}

impl Writer {
    pub(super) fn new(dir: &Path, side: &str, seed: u64, books: &Arc<Books>) -> Self {
        Self {
            side: dir.join(side),
            private: dir.join("private"),
            name: side.to_owned(),
            rng: SmallRng::seed_from_u64(seed),
            count: 0,
            books: Arc::clone(books),
            touched: BTreeSet::new(),
        }
    }

    pub(super) fn pause(&mut self, most: u64) -> u64 {
        self.rng.random_range(0..=most)
    }

    pub(super) fn touched(&self) -> &BTreeSet<String> {
        &self.touched
    }

    fn path(&mut self) -> String {
        let mut path = ["a", "b", "c"][self.rng.random_range(0..3)].to_owned();
        for _ in 0..self.rng.random_range(0..3) {
            path = format!("{path}/{}", ["a", "b", "c"][self.rng.random_range(0..3)]);
        }
        path
    }

    fn text(&mut self, path: &str) -> String {
        self.count += 1;
        let filler = if self.rng.random_ratio(1, 8) { "-".repeat(200_000) } else { String::new() };
        let text = format!("{} {} {}{filler}", self.name, self.count, self.rng.random::<u32>());
        let hash = blake3::hash(text.as_bytes()).to_hex();
        tracing::trace!(
            side = self.name,
            path,
            text = &text[..text.len().min(30)],
            hash = &hash[..4],
            "write"
        );
        self.books.made.lock().unwrap().insert(text.clone(), format!("{} at {path}", self.name));
        text
    }

    fn unmake(&self, text: String) {
        self.books.made.lock().unwrap().remove(&text);
    }

    /// One deed; returns the paths that it was done to. What can't be done now is left.
    pub(super) fn deed(&mut self) -> Vec<String> {
        let path = self.path();
        let at = self.side.join(&path);
        let done = match self.rng.random_range(0..12) {
            0 => fs::create_dir(&at).is_ok(),
            1 => self.remove(&at),
            2 if self.rng.random() => {
                // Some of it may be gone though not all of it is.
                self.remove_all(&at);
                true
            }
            3 => self.change_mode(&at),
            4 if self.rng.random() => {
                let to = self.path();
                let moved = fs::symlink_metadata(self.side.join(&to)).is_err()
                    && rustix::fs::renameat_with(
                        rustix::fs::CWD,
                        &at,
                        rustix::fs::CWD,
                        self.side.join(&to),
                        rustix::fs::RenameFlags::NOREPLACE,
                    )
                    .is_ok();
                if moved {
                    tracing::trace!(side = self.name, path, to, "renamed");
                    self.touched.insert(to.clone());
                    self.touched.insert(path.clone());
                    return vec![path, to];
                }
                false
            }
            5 | 6 => self.write_in_place(&at, &path),
            7 | 8 => self.replace(&at, &path),
            _ => self.create(&at, &path),
        };
        if done {
            tracing::trace!(side = self.name, path, "deed");
            self.touched.insert(path.clone());
            vec![path]
        } else {
            Vec::new()
        }
    }

    fn private(&mut self) -> PathBuf {
        self.count += 1;
        self.private.join(format!("{}{}", self.name, self.count))
    }

    fn create(&mut self, at: &Path, path: &str) -> bool {
        let text = self.text(path);
        let made = OpenOptions::new().write(true).create_new(true).open(at);
        if let Ok(mut file) = made {
            file.write_all(text.as_bytes()).unwrap();
            return true;
        }
        self.unmake(text);
        false
    }

    fn write_in_place(&mut self, at: &Path, path: &str) -> bool {
        let Ok(mut file) = OpenOptions::new().read(true).write(true).open(at) else { return false };
        let mut old = String::new();
        if file.read_to_string(&mut old).is_err() {
            return false;
        }
        let text = self.text(path);
        file.set_len(0).unwrap();
        if self.rng.random_ratio(1, 4) {
            std::thread::sleep(std::time::Duration::from_micros(self.rng.random_range(0..5_000)));
        }
        file.rewind().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.books.undo(old);
        true
    }

    /// As an editor saves: a new file over the old one.
    fn replace(&mut self, at: &Path, path: &str) -> bool {
        if !fs::symlink_metadata(at).is_ok_and(|meta| meta.is_file()) {
            return false;
        }
        let (text, private) = (self.text(path), self.private());
        fs::write(&private, &text).unwrap();
        let cwd = rustix::fs::CWD;
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        if rustix::fs::renameat_with(cwd, &private, cwd, at, exchange).is_err() {
            fs::remove_file(&private).unwrap();
            self.unmake(text);
            return false;
        }
        self.drop_private(&private);
        true
    }

    /// What was taken out of the tree is undone by its taker.
    fn drop_private(&mut self, private: &Path) {
        let meta = fs::symlink_metadata(private).unwrap();
        if meta.is_dir() {
            for entry in fs::read_dir(private).unwrap() {
                self.drop_private(&entry.unwrap().path());
            }
            fs::remove_dir(private).unwrap();
        } else {
            // Somebody may be writing it still, who opened it before: he undoes what he has read of it.
            let text = fs::read_to_string(private).unwrap_or_default();
            self.books.undo(text);
            fs::remove_file(private).unwrap();
        }
    }

    fn remove(&mut self, at: &Path) -> bool {
        if !fs::symlink_metadata(at).is_ok_and(|meta| meta.is_file()) {
            return false;
        }
        let private = self.private();
        if fs::rename(at, &private).is_err() {
            return false;
        }
        self.drop_private(&private);
        true
    }

    /// As `rm -rf` does: one by one, from below.
    fn remove_all(&mut self, at: &Path) -> bool {
        let Ok(entries) = fs::read_dir(at) else { return self.remove(at) };
        for entry in entries.flatten() {
            self.remove_all(&entry.path());
        }
        fs::remove_dir(at).is_ok()
    }

    fn change_mode(&mut self, at: &Path) -> bool {
        let mode = [0o600, 0o644, 0o755][self.rng.random_range(0..3)];
        fs::symlink_metadata(at).is_ok_and(|meta| meta.is_file())
            && fs::set_permissions(at, fs::Permissions::from_mode(mode)).is_ok()
    }
}
