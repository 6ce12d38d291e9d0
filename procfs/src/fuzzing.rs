//! For `fuzz/`: every parser of this crate.

use crate::{command, fdinfo, ids, mounts::parse_mounts, processes, status::Status};

/// Reads a text as each of the files.
pub fn fuzz(text: &str) {
    let _ = (parse_mounts(text), Status::parse(text), ids::parse(text));
    let _ = (processes::Stat::parse(text), fdinfo::marks(text), command::words(text.as_bytes()));
}
