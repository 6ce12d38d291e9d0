//! Content on its way into a new file: what is zero takes no room there.
//!
//! Invariant: the file reads as if everything had been written. What was never written of a file reads as zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// File systems give room out in pieces of this size, or of a multiple.
const BLOCK: usize = 4096;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Writes `piece` at the end `at` of a new file, but for blocks of zeros.
pub(crate) fn write(file: &File, at: u64, piece: &[u8]) -> io::Result<()> {
    let (mut from, mut to, mut end) = (0, 0, at);
    while to < piece.len() {
        let room = BLOCK - usize::try_from(end % BLOCK as u64).unwrap_or_default();
        let block = &piece[to..piece.len().min(to + room)];
        if *block == ZEROS[..block.len()] {
            file.write_all_at(&piece[from..to], at + from as u64)?;
            from = to + block.len();
        }
        to += block.len();
        end += block.len() as u64;
    }
    if from == to { file.set_len(end) } else { file.write_all_at(&piece[from..to], at + from as u64) }
}

/// Copies the first `size` bytes of a file to a new one; what takes no room here takes none there. Returns how many there
/// were. On Linux this is copy_file_range, which shares the blocks where the file system can.
pub(crate) fn copy(from: &mut File, to: &mut File, size: u64) -> io::Result<u64> {
    let mut at = 0;
    while let Some(data) = next(from, at)?.filter(|data| data.start < size) {
        let wanted = data.end.min(size) - data.start;
        for file in [&mut *from, &mut *to] {
            io::Seek::seek(file, io::SeekFrom::Start(data.start))?;
        }
        let copied = io::copy(&mut io::Read::take(&mut *from, wanted), to)?;
        at = data.start + copied;
        if copied < wanted {
            // It became shorter.
            return Ok(at);
        }
    }
    let end = size.min(from.metadata()?.len()).max(at);
    to.set_len(end)?;
    Ok(end)
}

/// What is no hole, from `at` on; lseek(2). None where nothing comes any more.
#[cfg(target_os = "linux")]
fn next(file: &File, at: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    match seek(file, SeekFrom::Data(at)) {
        // After its end, too.
        Ok(start) => Ok(Some(start..seek(file, SeekFrom::Hole(start))?)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that does not know.
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(all(file, at)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn next(file: &File, at: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    all(file, at)
}

fn all(file: &File, at: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    let end = file.metadata()?.len();
    Ok((at < end).then_some(at..end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    const MEGABYTE: usize = 1 << 20;

    /// A megabyte of zeros, a few bytes across a block's edge, more zeros, a word and a last hole.
    fn content() -> Vec<u8> {
        let mut content = vec![0; 3 * MEGABYTE + 77];
        content[MEGABYTE - 2..MEGABYTE + 2].copy_from_slice(b"edge");
        content[2 * MEGABYTE] = b'x';
        content
    }

    fn blocks(file: &File) -> u64 {
        file.metadata().unwrap().blocks() * 512
    }

    #[test]
    fn zeros_take_no_room_in_whatever_pieces_they_come() {
        let (content, dir) = (content(), tempfile::tempdir().unwrap());
        for (name, size) in
            [("a", content.len()), ("b", 256 * 1024), ("c", 4096), ("d", 1000), ("e", 300_001)]
        {
            let file = File::create_new(dir.path().join(name)).unwrap();
            let mut at = 0;
            for piece in content.chunks(size) {
                write(&file, at, piece).unwrap();
                at += piece.len() as u64;
            }
            assert!(fs::read(dir.path().join(name)).unwrap() == content, "pieces of {size}");
            assert!(blocks(&file) <= 16 * BLOCK as u64, "pieces of {size}: {}", blocks(&file));
        }
        let file = File::create_new(dir.path().join("f")).unwrap();
        write(&file, 0, b"").unwrap();
        write(&file, 0, b"no zeros").unwrap();
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"no zeros");
    }

    #[test]
    fn a_copy_has_the_holes_of_what_it_is_of() {
        let (content, dir) = (content(), tempfile::tempdir().unwrap());
        let file = File::create_new(dir.path().join("from")).unwrap();
        write(&file, 0, &content).unwrap();
        let copied = |name: &str, size: u64| {
            let mut to = File::create_new(dir.path().join(name)).unwrap();
            let copied = copy(&mut File::open(dir.path().join("from")).unwrap(), &mut to, size).unwrap();
            (copied, fs::read(dir.path().join(name)).unwrap(), blocks(&to))
        };
        let (size, read, room) = copied("to", content.len() as u64);
        assert!(size == content.len() as u64 && read == content);
        assert!(room <= 16 * BLOCK as u64, "{room}");
        // As many as were asked for, and no more than there are.
        let (size, read, _) = copied("less", MEGABYTE as u64);
        assert!(size == MEGABYTE as u64 && read == content[..MEGABYTE]);
        file.set_len(0).unwrap();
        FileExt::write_all_at(&file, b"short", 0).unwrap();
        assert_eq!(copied("short", 10_000).0, 5);
    }
}
