//! What people and programs do to a tree, drawn by the seed.
//!
//! Invariant: in one round a top-level name is this side's, the other side's or of both, so that it is known of which
//! files a conflict may come; in those of both, files are written and nothing else.

use std::{collections::BTreeSet, fs, io, path::Path, thread, time::Duration};

use ksync_judge::{Side, is_ignored, is_own};
use rand::{Rng, RngExt, rngs::StdRng};

use crate::{
    editors::{self, Editor},
    hand::{self, Hand},
};

/// Above this many files, nothing new is made.
const FULL: usize = 240;
const LARGE: std::ops::Range<usize> = 3 << 20..12 << 20;
const LARGE_NAME: &str = "-large";
const DEEP: usize = 5;

/// Names that file systems allow and programs stumble over.
const ODD: &[&str] = &[
    "with space",
    "-dash",
    "quote'\"s",
    "dollar$HOME",
    "back\\slash",
    "ünï-çødé",
    "日本語",
    "new\nline",
    "a&b;c|d",
    "*?[x]",
    "#hash",
    "trailing ",
    "😀",
    "%41",
    "a:b",
    "...",
];

/// Whose a top-level name is in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Here,
    There,
    Both,
}

fn owner(path: &str, round: u64) -> Owner {
    let unit = path.split('/').next().unwrap_or(path);
    let hash = blake3::hash(format!("{round} {unit}").as_bytes());
    match hash.as_bytes()[0] % 10 {
        0..=4 => Owner::Here,
        5..=8 => Owner::There,
        _ => Owner::Both,
    }
}

/// What a writer finds of what is its own.
struct Listing {
    files: Vec<String>,
    dirs: Vec<String>,
    links: Vec<String>,
    shared: Vec<String>,
}

/// One side's writer in one round.
pub(crate) struct Writer<'a> {
    pub(crate) hand: Hand<'a>,
    pub(crate) rng: StdRng,
    pub(crate) round: u64,
    /// Files that it may still delete or move: a mass deletion is a person's to confirm.
    pub(crate) removals: usize,
    /// Large files that it may still write.
    pub(crate) large: usize,
}

impl Writer<'_> {
    fn is_mine(&self, path: &str) -> bool {
        let mine = if self.hand.side == Side::Local { Owner::Here } else { Owner::There };
        owner(path, self.round) == mine
    }

    fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing { files: vec![], dirs: vec![], links: vec![], shared: vec![] };
        self.add(&self.hand.root, "", &mut listing)?;
        Ok(listing)
    }

    fn add(&self, dir: &Path, below: &str, listing: &mut Listing) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let Ok(kind) = entry.file_type() else { continue };
            let shared = owner(&path, self.round) == Owner::Both;
            if is_ignored(&path) || is_own(&path) || !shared && !self.is_mine(&path) {
                continue;
            }
            if kind.is_dir() {
                // It may be gone by now.
                let _ = self.add(&entry.path(), &path, listing);
            }
            match (shared, kind.is_dir(), kind.is_symlink()) {
                (true, false, false) => listing.shared.push(path),
                (true, ..) => {}
                (false, true, _) => listing.dirs.push(path),
                (false, _, true) => listing.links.push(path),
                (false, false, false) => listing.files.push(path),
            }
        }
        listing.files.sort();
        listing.dirs.sort();
        Ok(())
    }

    fn below(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }

    fn pick(&mut self, from: &[String]) -> io::Result<String> {
        if from.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let at = self.below(from.len());
        Ok(from[at].clone())
    }

    fn some(&mut self, from: &[String], most: usize) -> Vec<String> {
        let picked: BTreeSet<String> = (0..most).filter_map(|_| self.pick(from).ok()).collect();
        picked.into_iter().collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let size = match self.below(10) {
            0..=5 => self.below(400),
            6..=8 => self.below(20_000),
            _ => self.below(300_000),
        };
        hand::content(&self.hand.side, size)
    }

    /// A new name, in a directory of its own or at the top.
    fn new_name(&mut self, dirs: &[String], stem: &str) -> String {
        let at = self.below(dirs.len() + 2);
        let dir = dirs.get(at).filter(|dir| dir.matches('/').count() < DEEP).cloned();
        loop {
            let number = self.rng.next_u32() % 100_000;
            let name = format!("{stem}{number}");
            match &dir {
                Some(dir) => return format!("{dir}/{name}"),
                None if self.is_mine(&name) => return name,
                None => {}
            }
        }
    }

    /// Does one thing.
    pub(crate) fn deed(&mut self) -> io::Result<()> {
        let list = self.list()?;
        let room = list.files.len() < FULL / 2;
        match self.below(100) {
            0..=13 => self.write(&list),
            14..=23 => {
                let (path, more) = (self.pick(&list.files)?, self.bytes());
                self.hand.append(&path, &more)
            }
            24..=31 => {
                let (path, bytes) = (self.pick(&list.files)?, self.bytes());
                self.hand.replace(&path, &bytes)
            }
            32..=43 => self.edit(&list),
            44..=53 if room => self.make(&list),
            54..=57 if room => self.make_dirs(&list),
            58..=63 => self.move_file(&list),
            64..=69 => self.move_dir(&list),
            76..=79 => self.remove_dir(&list),
            80..=83 => self.chmod(&list),
            84..=86 => self.link(&list),
            87..=89 => {
                self.burst(&list);
                Ok(())
            }
            90..=92 => self.switch(&list),
            93..=94 if room => self.odd(&list),
            95 => self.large(&list),
            96 => self.swap(&list),
            97..=99 => self.shared_of(&list).map(drop),
            _ => self.remove_file(&list),
        }
    }

    /// Writes a few words over a file, as a log or a database does all the time.
    pub(crate) fn tick(&mut self) -> io::Result<()> {
        let list = self.list()?;
        let path = self.pick(&list.files)?;
        self.hand.overwrite(&path, &hand::content(&self.hand.side, 0))
    }

    fn write(&mut self, list: &Listing) -> io::Result<()> {
        let (path, bytes) = (self.pick(&list.files)?, self.bytes());
        self.hand.overwrite(&path, &bytes)
    }

    fn edit(&mut self, list: &Listing) -> io::Result<()> {
        let path = self.pick(&list.files)?;
        let mut bytes = hand::bytes(&self.hand.at(&path))?;
        bytes.extend(hand::content(&self.hand.side, 60));
        let editor = [Editor::Vim, Editor::Emacs, Editor::Jetbrains, Editor::Code][self.below(4)];
        editors::save(&self.hand, editor, &path, &bytes)
    }

    fn make(&mut self, list: &Listing) -> io::Result<()> {
        let mut path = self.new_name(&list.dirs, "f");
        if self.below(3) == 0 {
            path = format!("{}/sub/f", self.new_name(&list.dirs, "d"));
        }
        self.hand.mkdirs_for(&path)?;
        let bytes = self.bytes();
        self.hand.overwrite(&path, &bytes)
    }

    /// Nested ones, with a file at the bottom or nothing.
    fn make_dirs(&mut self, list: &Listing) -> io::Result<()> {
        let top = self.new_name(&list.dirs, "d");
        let path = format!("{top}/js/chunks/last");
        self.hand.mkdirs_for(&path)?;
        for name in ["index.html", "js/chunks/a.js", "js/b.js"] {
            if self.below(4) > 0 {
                let bytes = self.bytes();
                self.hand.overwrite(&format!("{top}/{name}"), &bytes)?;
            }
        }
        Ok(())
    }

    fn spend(&mut self, files: usize) -> io::Result<()> {
        self.removals = self.removals.checked_sub(files).ok_or(io::ErrorKind::QuotaExceeded)?;
        Ok(())
    }

    fn move_file(&mut self, list: &Listing) -> io::Result<()> {
        self.spend(1)?;
        let (from, to) = (self.pick(&list.files)?, self.new_name(&list.dirs, "m"));
        self.hand.rename_file(&from, &to)
    }

    fn move_dir(&mut self, list: &Listing) -> io::Result<()> {
        let (from, to) = (self.pick(&list.dirs)?, self.new_name(&list.dirs, "m"));
        if to.starts_with(&from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.spend(within(list, &from))?;
        self.hand.rename_dir(&from, &to)?;
        // Whoever renames a directory goes on working in it.
        let moved = list.files.iter().find_map(|file| file.strip_prefix(&format!("{from}/")));
        match moved {
            Some(name) if self.below(2) == 0 => {
                let bytes = self.bytes();
                self.hand.overwrite(&format!("{to}/{name}"), &bytes)
            }
            _ => Ok(()),
        }
    }

    fn remove_file(&mut self, list: &Listing) -> io::Result<()> {
        self.spend(1)?;
        let path = self.pick(&list.files)?;
        self.hand.unlink(&path)
    }

    /// All at once, or one after another with a pause.
    fn remove_dir(&mut self, list: &Listing) -> io::Result<()> {
        let path = self.pick(&list.dirs)?;
        self.spend(within(list, &path))?;
        let pause = if self.below(3) == 0 { 5 + self.below(60) } else { 0 };
        self.hand.remove_dir(&path, Duration::from_millis(pause as u64))
    }

    fn chmod(&mut self, list: &Listing) -> io::Result<()> {
        let path = self.pick(&list.files)?;
        let mode = [0o644, 0o755, 0o600, 0o640][self.below(4)];
        self.hand.chmod(&path, mode)
    }

    fn link(&mut self, list: &Listing) -> io::Result<()> {
        match self.below(3) {
            0 if !list.links.is_empty() => {
                let path = self.pick(&list.links)?;
                self.hand.unlink(&path)
            }
            1 if !list.links.is_empty() => {
                let path = self.pick(&list.links)?;
                self.hand.unlink(&path)?;
                self.hand.symlink(&path, "elsewhere/dangling")
            }
            _ => {
                let target = self.pick(&list.files)?;
                let name = target.rsplit('/').next().unwrap_or_default().to_owned();
                let path = self.new_name(&list.dirs, "l");
                self.hand.symlink(&path, &name)
            }
        }
    }

    /// Many files at once, as a formatter does.
    fn burst(&mut self, list: &Listing) {
        for path in self.some(&list.files, 30) {
            let bytes = self.bytes();
            // One that somebody took away meanwhile is passed over.
            let _ = self.hand.overwrite(&path, &bytes);
        }
    }

    /// Another branch and back, the way git does it: a file goes and comes anew.
    fn switch(&mut self, list: &Listing) -> io::Result<()> {
        let paths = self.some(&list.files, 20);
        self.spend(paths.len() / 2)?;
        let (mut kept, mut made) = (Vec::new(), Vec::new());
        for (number, path) in paths.iter().enumerate() {
            kept.push((path, hand::bytes(&self.hand.at(path))?));
            self.hand.unlink(path)?;
            if number % 2 == 0 {
                let bytes = self.bytes();
                self.hand.overwrite(path, &bytes)?;
            }
        }
        for _ in 0..4 {
            let path = self.new_name(&list.dirs, "b");
            let bytes = self.bytes();
            self.hand.overwrite(&path, &bytes)?;
            made.push(path);
        }
        if self.below(2) == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20 + self.below(400) as u64));
        for path in made {
            self.hand.unlink(&path)?;
        }
        for (number, (path, bytes)) in kept.into_iter().enumerate() {
            if number % 2 == 0 {
                self.hand.unlink(path)?;
            }
            self.hand.overwrite(path, &bytes)?;
        }
        Ok(())
    }

    fn odd(&mut self, list: &Listing) -> io::Result<()> {
        let dir = self.pick(&list.dirs)?;
        let odd = match self.below(ODD.len() + 1) {
            at if at < ODD.len() => ODD[at].to_owned(),
            _ => "n".repeat(200),
        };
        let bytes = self.bytes();
        self.hand.overwrite(&format!("{dir}/{odd}"), &bytes)
    }

    fn large(&mut self, list: &Listing) -> io::Result<()> {
        self.large = self.large.checked_sub(1).ok_or(io::ErrorKind::QuotaExceeded)?;
        // Always the same few, so that the disks stay large enough.
        let path = list.files.iter().find(|path| path.ends_with(LARGE_NAME)).cloned();
        let path = path.unwrap_or_else(|| format!("{}{LARGE_NAME}", self.new_name(&[], "f")));
        let size = self.rng.random_range(LARGE);
        let bytes = hand::content(&self.hand.side, size);
        self.hand.overwrite(&path, &bytes)
    }

    /// A file in the place of a directory, or the other way round.
    fn swap(&mut self, list: &Listing) -> io::Result<()> {
        let bytes = self.bytes();
        if self.below(2) == 0 {
            let path = self.pick(&list.dirs)?;
            self.spend(within(list, &path))?;
            self.hand.remove_dir(&path, Duration::ZERO)?;
            return self.hand.overwrite(&path, &bytes);
        }
        let path = self.pick(&list.files)?;
        self.hand.unlink(&path)?;
        self.hand.mkdir(&path)?;
        self.hand.overwrite(&format!("{path}/f"), &bytes)
    }

    /// A file that both sides write; returns its path.
    pub(crate) fn shared(&mut self) -> io::Result<String> {
        let list = self.list()?;
        self.shared_of(&list)
    }

    fn shared_of(&mut self, list: &Listing) -> io::Result<String> {
        let path = self.pick(&list.shared)?;
        self.contest(&path)?;
        Ok(path)
    }

    /// Writes a file that the other side may be writing, too.
    pub(crate) fn contest(&mut self, path: &str) -> io::Result<()> {
        let bytes = self.bytes();
        match self.below(4) {
            0 => self.hand.append(path, &bytes),
            1 => self.hand.replace(path, &bytes),
            _ => self.hand.overwrite(path, &bytes),
        }
    }
}

fn within(list: &Listing, dir: &str) -> usize {
    let dir = format!("{dir}/");
    list.files.iter().filter(|file| file.starts_with(&dir)).count()
}
