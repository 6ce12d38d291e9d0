//! Entries of a tree as a stream: zstd over tar with PAX records for exact times, long names and any characters.
//! Each file's content is of one size that was true when it was read; what can't be read is counted, not guessed.

use crate::entry::{Entry, Kind, Skipped};
use crate::error::Error;
use crate::list::reason;
use crate::pax;
use crate::root::Root;
use crate::stat::{entry_at, mtime_of, open_regular, permissions, size_of};
use std::fs::File;
use std::io::{Read, Write};

/// Fast enough to never be the bottleneck; level 1 is what the links in question still gain from.
const LEVEL: i32 = 1;

/// Files up to this many bytes are read before their header is written, so that both agree whatever happens meanwhile.
const WHOLE: u64 = 4 * 1024 * 1024;

/// What went into or came out of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Regular files and symlinks.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// What was asked for and left out.
    pub skipped: Vec<Skipped>,
}

/// Writes the entries at `paths` (directories without what is below them) to `out`. Put parents before their children.
/// What vanished meanwhile or can't be read is in [`Counts::skipped`]; an error means that the stream is broken off.
pub fn pack<'p>(root: &Root, paths: impl Iterator<Item = &'p str>, out: impl Write) -> Result<Counts, Error> {
    let encoder = zstd::Encoder::new(out, LEVEL).map_err(write_error)?;
    let mut packer = Packer { root, tar: tar::Builder::new(encoder), counts: Counts::default() };
    for path in paths {
        match packer.one(path) {
            Ok(()) => {}
            Err(e @ (Error::Stream { .. } | Error::BadPath { .. } | Error::Changed { .. })) => return Err(e),
            Err(e) => packer.skip(path, reason(&e)),
        }
    }
    let mut out = packer.tar.into_inner().and_then(zstd::Encoder::finish).map_err(write_error)?;
    out.flush().map_err(write_error)?;
    Ok(packer.counts)
}

struct Packer<'r, W: Write> {
    root: &'r Root,
    tar: tar::Builder<zstd::Encoder<'static, W>>,
    counts: Counts,
}

impl<W: Write> Packer<'_, W> {
    fn one(&mut self, path: &str) -> Result<(), Error> {
        let (dir, name) = self.root.parent(path)?;
        let Some(entry) = entry_at(&dir, name, path, false)? else {
            self.skip(path, "it is gone".to_owned());
            return Ok(());
        };
        match entry.kind {
            Kind::Dir => {
                self.header(&entry, tar::EntryType::Directory)?;
                self.counts.dirs += 1;
            }
            Kind::Symlink => {
                self.header(&entry, tar::EntryType::Symlink)?;
                self.counts.files += 1;
            }
            Kind::File => {
                let (file, stat) = open_regular(&dir, name, path)?;
                let entry = Entry {
                    size: size_of(&stat),
                    mode: permissions(&stat),
                    mtime_ns: mtime_of(&stat),
                    ..entry
                };
                self.file(entry, file)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, mut entry: Entry, mut file: File) -> Result<(), Error> {
        if entry.size <= WHOLE {
            let mut content = Vec::with_capacity(usize::try_from(entry.size).unwrap_or(0));
            let read = (&mut file).take(WHOLE + 1).read_to_end(&mut content);
            read.map_err(|e| Error::io("read", &entry.path, e))?;
            if content.len() as u64 <= WHOLE {
                entry.size = content.len() as u64;
                self.header(&entry, tar::EntryType::Regular)?;
                self.tar.get_mut().write_all(&content).map_err(write_error)?;
                return self.padding(&entry);
            }
            self.skip(&entry.path, "it grew while it was read".to_owned());
            return Ok(());
        }
        self.header(&entry, tar::EntryType::Regular)?;
        // Read and write apart, so that a failing file is not taken for a failing stream.
        let mut left = entry.size;
        let mut buffer = vec![0; crate::stat::CHUNK];
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = match file.read(&mut buffer[..want]) {
                Ok(0) => return Err(Error::Changed { path: entry.path }),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                // The header is out: the stream can't be mended.
                Err(source) => return Err(Error::Stream { operation: "write", source }),
            };
            self.tar.get_mut().write_all(&buffer[..n]).map_err(write_error)?;
            left -= n as u64;
        }
        self.padding(&entry)
    }

    fn header(&mut self, entry: &Entry, kind: tar::EntryType) -> Result<(), Error> {
        let mut records = Vec::new();
        pax::push(&mut records, "path", entry.path.as_bytes());
        pax::push(&mut records, "mtime", pax::format_time(entry.mtime_ns).as_bytes());
        if let Some(target) = &entry.target {
            pax::push(&mut records, "linkpath", target);
        }
        let mut extended = tar::Header::new_ustar();
        extended.set_entry_type(tar::EntryType::XHeader);
        extended.set_size(records.len() as u64);
        extended.set_mode(0o644);
        extended.set_cksum();
        self.tar.append(&extended, records.as_slice()).map_err(write_error)?;
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(entry.mode);
        header.set_size(entry.size);
        header.set_mtime(u64::try_from(entry.mtime_ns / 1_000_000_000).unwrap_or(0));
        header.set_cksum();
        self.tar.get_mut().write_all(header.as_bytes()).map_err(write_error)
    }

    fn padding(&mut self, entry: &Entry) -> Result<(), Error> {
        let over = usize::try_from(entry.size % 512).unwrap_or(0);
        if over > 0 {
            self.tar.get_mut().write_all(&[0; 512][over..]).map_err(write_error)?;
        }
        self.counts.files += 1;
        self.counts.bytes += entry.size;
        Ok(())
    }

    fn skip(&mut self, path: &str, reason: String) {
        self.counts.skipped.push(Skipped { path: path.to_owned(), reason });
    }
}

fn write_error(source: std::io::Error) -> Error {
    Error::Stream { operation: "write", source }
}
