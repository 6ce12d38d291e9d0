//! What is written: text that nothing has seen before, so that no copy of it is at hand anywhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rand::RngExt;

/// So many characters, as compressible as hexadecimal digits are.
pub(crate) fn text(length: usize) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    noise(length.div_ceil(2)).into_iter().flat_map(digits).take(length).collect()
}

/// Bytes that can't be compressed.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::rng().fill(&mut bytes[..]);
    bytes
}

/// `count` new files, a hundred in each directory.
#[derive(Debug)]
pub(crate) struct Many {
    pub(crate) names: Vec<String>,
    contents: Vec<Vec<u8>>,
}

impl Many {
    /// Below a directory, which may be `.`.
    pub(crate) fn new(below: &str, count: usize, size: usize) -> Self {
        let names = (0..count).map(|number| format!("{below}/{:03}/{number:06}.txt", number / 100)).collect();
        Self { names, contents: (0..count).map(|_| text(size)).collect() }
    }

    /// At once.
    pub(crate) fn write(&self, root: &Path) {
        for (name, content) in self.names.iter().zip(&self.contents) {
            let path = root.join(name);
            if let Some(dir) = path.parent()
                && !dir.exists()
            {
                fs::create_dir_all(dir).expect("make a directory");
            }
            fs::write(&path, content).expect("write a file");
        }
    }

    /// Of each, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.contents.first().map_or(0, |content| content.len() as u64)
    }

    pub(crate) fn paths(&self, root: &Path) -> Vec<PathBuf> {
        self.names.iter().map(|name| root.join(name)).collect()
    }

    /// Panics where one is not what was written.
    #[track_caller]
    pub(crate) fn are_in(&self, root: &Path) {
        for (name, content) in self.names.iter().zip(&self.contents) {
            let found =
                fs::read(root.join(name)).unwrap_or_else(|error| panic!("read `{name}` there: {error}"));
            assert!(&found == content, "`{name}` arrived with another content");
        }
    }
}
