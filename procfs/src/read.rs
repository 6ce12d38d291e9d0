//! Reading a file, a link or a list of numbers below `/proc`, with an error that names it.

use std::{fs, io, os::unix::fs::MetadataExt, path::PathBuf};

use crate::error::Error;

pub(crate) fn at(path: &str) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { path: path.clone(), source }
}

pub(crate) fn bytes(path: &str) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(at(path))
}

/// Bytes that are not UTF-8 are replaced: the kernel cuts a thread's name after 15 bytes, inside a character too.
pub(crate) fn text(path: &str) -> Result<String, Error> {
    bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn link(path: &str) -> Result<PathBuf, Error> {
    fs::read_link(path).map_err(at(path))
}

/// Device and inode of what a link leads to.
pub(crate) fn file(path: &str) -> Result<(u64, u64), Error> {
    fs::metadata(path).map(|file| (file.dev(), file.ino())).map_err(at(path))
}

/// The numbers among a directory's names.
pub(crate) fn numbers(path: &str) -> Result<Vec<i32>, Error> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        let name = entry.map_err(at(path))?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(numbers)
}
