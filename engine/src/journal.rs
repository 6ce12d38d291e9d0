//! The records of a group as a file that is only ever added to, and written anew when most of it is of the past.
//!
//! Invariant: what was added is in the file when the call returns. It need not be on the disk: a power cut may lose a second.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ksync_merge::{BadRecord, Record};

/// A file up to this size is not written anew.
const SMALL: u64 = 4 << 20;

/// First line: what the file is, and of which format.
const HEAD: &str = "kubectl-ksync ancestors 1";

/// Why records can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can't be read or written.
    #[error("{operation} `{path}`")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// The file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    /// Its size when it was last written anew.
    compact: u64,
    /// Records could not be added: it is written anew the next time.
    lacks_some: bool,
}

/// What a file held.
#[derive(Debug)]
pub struct Recovered {
    /// In order.
    pub records: Vec<Record>,
    /// Why it is not all that was written, if so. What is unknown costs a file that comes back, never one that is lost.
    pub damaged: Option<String>,
}

impl Journal {
    /// Opens the file at `path`, and reads what it holds. A damaged one is put aside.
    pub fn open(path: &Path) -> Result<(Self, Recovered), JournalError> {
        let recovered = match File::open(path) {
            Ok(file) => read(file).map_err(failed("read", path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Recovered { records: Vec::new(), damaged: None }
            }
            Err(error) => return Err(failed("open", path)(error)),
        };
        if recovered.damaged.is_some() {
            let aside = path.with_extension("damaged");
            std::fs::rename(path, &aside).map_err(failed("put aside", path))?;
        }
        let file = open(path, false)?;
        let size = file.metadata().map_err(failed("look at", path))?.len();
        let mut journal = Self { path: path.to_owned(), file, size, compact: size, lacks_some: false };
        if size == 0 {
            journal.write(format!("{HEAD}\n").as_bytes())?;
            journal.add(&recovered.records)?;
        }
        Ok((journal, recovered))
    }

    /// Adds records.
    pub fn add(&mut self, records: &[Record]) -> Result<(), JournalError> {
        if records.is_empty() {
            return Ok(());
        }
        self.write(lines(records).as_bytes())
    }

    /// Adds records, or writes it anew with all that is known, where that is worth while or something could not be added before.
    pub fn record(
        &mut self,
        records: &[Record],
        known: impl FnOnce() -> Vec<Record>,
    ) -> Result<(), JournalError> {
        if self.lacks_some {
            self.rewrite(&known())?;
            self.lacks_some = false;
            return Ok(());
        }
        let added = self.add(records);
        self.lacks_some = added.is_err();
        added?;
        if self.is_long() { self.rewrite(&known()) } else { Ok(()) }
    }

    /// Whether it is worth while to write it anew.
    pub fn is_long(&self) -> bool {
        self.size > SMALL && self.size > self.compact.saturating_mul(3)
    }

    /// Writes it anew: `records` are all that is known.
    pub fn rewrite(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let next = self.path.with_extension("next");
        let mut file = open(&next, true)?;
        let text = format!("{HEAD}\n{}", lines(records));
        file.write_all(text.as_bytes()).map_err(failed("write", &next))?;
        file.sync_all().map_err(failed("write", &next))?;
        std::fs::rename(&next, &self.path).map_err(failed("replace", &self.path))?;
        (self.file, self.size, self.compact) = (file, text.len() as u64, text.len() as u64);
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> Result<(), JournalError> {
        if let Err(error) = self.file.write_all(text) {
            // A line that was cut off would spoil the one after it.
            self.file.set_len(self.size).map_err(failed("cut off", &self.path))?;
            return Err(failed("write", &self.path)(error));
        }
        self.size += text.len() as u64;
        Ok(())
    }
}

fn open(path: &Path, anew: bool) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    // A file that is added to takes each write whole, wherever the last one ended.
    if anew {
        options.write(true).truncate(true)
    } else {
        options.append(true)
    };
    options.open(path).map_err(failed("open", path))
}

fn lines(records: &[Record]) -> String {
    records.iter().fold(String::new(), |text, record| text + &record.line() + "\n")
}

fn read(file: File) -> io::Result<Recovered> {
    let mut recovered = Recovered { records: Vec::new(), damaged: None };
    let mut lines = BufReader::new(file);
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(recovered);
        }
        number += 1;
        // What was cut off at the end was never acted upon.
        if line.pop() != Some(b'\n') {
            recovered.damaged = Some(format!("line {number} is cut off"));
            return Ok(recovered);
        }
        if number == 1 {
            if line != HEAD.as_bytes() {
                recovered.damaged = Some("its first line is not known".to_owned());
                return Ok(recovered);
            }
            continue;
        }
        let record = std::str::from_utf8(&line)
            .map_err(|error| error.to_string())
            .and_then(|line| Record::read(line).map_err(|error: BadRecord| ksync_common::chain(&error)));
        match record {
            Ok(record) => recovered.records.push(record),
            Err(reason) => {
                recovered.damaged = Some(format!("line {number}: {reason}"));
                return Ok(recovered);
            }
        }
    }
}

fn failed<'p>(operation: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> JournalError + use<'p> {
    move |source| JournalError::File { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn gone(path: &str) -> Record {
        Record::Here { path: Arc::from(path), state: None }
    }

    #[test]
    fn what_was_added_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ancestors");
        let (mut journal, recovered) = Journal::open(&path).unwrap();
        assert_eq!(recovered.records, []);
        journal.add(&[gone("a"), gone("b")]).unwrap();
        drop(journal);
        let (mut journal, recovered) = Journal::open(&path).unwrap();
        assert_eq!((recovered.records, recovered.damaged), (vec![gone("a"), gone("b")], None));
        journal.rewrite(&[gone("c")]).unwrap();
        journal.add(&[gone("d")]).unwrap();
        drop(journal);
        let (_, recovered) = Journal::open(&path).unwrap();
        assert_eq!(recovered.records, [gone("c"), gone("d")]);
    }

    #[test]
    fn what_is_cut_off_or_damaged_costs_only_what_follows() {
        for (damage, reason) in
            [("[\"cut", "line 3 is cut off"), ("{}\n{}\n", "line 3: read the record `{}`")]
        {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ancestors");
            Journal::open(&path).unwrap().0.add(&[gone("a")]).unwrap();
            OpenOptions::new().append(true).open(&path).unwrap().write_all(damage.as_bytes()).unwrap();
            let (journal, recovered) = Journal::open(&path).unwrap();
            assert_eq!(recovered.records, [gone("a")]);
            let damaged = recovered.damaged.unwrap();
            assert!(damaged.starts_with(reason), "{damaged}");
            drop(journal);
            let (_, recovered) = Journal::open(&path).unwrap();
            assert_eq!((recovered.records, recovered.damaged), (vec![gone("a")], None));
            assert!(path.with_extension("damaged").exists());
        }
    }

    #[test]
    fn a_long_one_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(&dir.path().join("ancestors")).unwrap();
        let many: Vec<Record> =
            (0..100_000).map(|at| gone(&format!("a-path-of-some-length-{at:060}"))).collect();
        assert!(!journal.is_long());
        journal.add(&many).unwrap();
        assert!(journal.is_long());
        journal.rewrite(&many).unwrap();
        assert!(!journal.is_long());
    }

    /// A disk that is full takes a part of a line.
    #[test]
    fn what_could_not_be_added_is_written_with_all_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.record(&[gone("a")], Vec::new).unwrap();
        journal.file = std::fs::File::options().write(true).open("/dev/full").unwrap();
        journal.record(&[gone("b")], Vec::new).unwrap_err();
        let known = || vec![gone("a"), gone("b"), gone("c")];
        journal.record(&[gone("c")], known).unwrap();
        journal.record(&[gone("d")], known).unwrap();
        let (_, recovered) = Journal::open(&path).unwrap();
        assert_eq!(recovered.records, ["a", "b", "c", "d"].map(gone));
    }
}
